# etch_module(NAME name DEPS modules… SRCS files… [LIBS targets…] [TESTS files…] [BENCH files…]
#   [FUZZ files…])
#
# Makes the static library `etch_name` out of one folder of src/, its test program `etch_name_test`,
# under ETCH_BENCH its Google Benchmark program `etch_name_bench` (measured by hand; a test only
# looks whether it runs), and for each `x_fuzz.cc` a program `etch_x_fuzz`: a libFuzzer target under
# ETCH_FUZZ, otherwise a replay of tests/golden/corpus/x that runs as an ordinary test.
#
# etch_unit_tests(program) makes the tests of a program unit tests; etch_module does so with its
# own.

add_library(etch_options INTERFACE)
target_include_directories(etch_options INTERFACE ${PROJECT_SOURCE_DIR}/src)
target_compile_options(etch_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wold-style-cast -Wnon-virtual-dtor
      -Woverloaded-virtual
  -Wimplicit-fallthrough -Wdouble-promotion
  # Floating point is the same on every machine: no contraction into fused multiply-adds.
  -ffp-contract=off
  $<$<CXX_COMPILER_ID:GNU>:-Wduplicated-cond -Wlogical-op>
  # GCC 12's own std::stable_sort calls a function that GCC 12 deprecates; clang reports the call.
  $<$<CXX_COMPILER_ID:Clang>:-Wno-deprecated-declarations>
  $<$<BOOL:${ETCH_WERROR}>:-Werror>)
target_compile_definitions(etch_options INTERFACE ETCH_VERSION="${PROJECT_VERSION}")

include(${CMAKE_CURRENT_LIST_DIR}/PrecompiledHeaders.cmake)

# All that `ctest -L unit` runs, for builds that need no more.
add_custom_target(unit_tests)

function(etch_unit_tests program)
  gtest_discover_tests(${program} PROPERTIES LABELS unit DISCOVERY_TIMEOUT 60)
  add_dependencies(unit_tests ${program})
endfunction()

function(etch_module)
  cmake_parse_arguments(M "" "NAME" "DEPS;SRCS;LIBS;TESTS;BENCH;FUZZ" ${ARGN})
  add_library(etch_${M_NAME} STATIC ${M_SRCS})
  set(deps ${M_DEPS})
  list(TRANSFORM deps PREPEND etch_)
  target_link_libraries(etch_${M_NAME} PUBLIC etch_options ${deps} PRIVATE ${M_LIBS})
  etch_precompiled_headers(etch_${M_NAME} library)
  if(ETCH_TESTS AND M_TESTS)
    add_executable(etch_${M_NAME}_test ${M_TESTS})
    target_link_libraries(etch_${M_NAME}_test PRIVATE etch_${M_NAME} ${M_LIBS} etch_test_support
        GTest::gmock_main)
    etch_precompiled_headers(etch_${M_NAME}_test test)
    etch_unit_tests(etch_${M_NAME}_test)
  endif()
  if(ETCH_BENCH AND M_BENCH)
    add_executable(etch_${M_NAME}_bench ${M_BENCH})
    target_link_libraries(etch_${M_NAME}_bench PRIVATE etch_${M_NAME} ${M_LIBS}
        benchmark::benchmark_main)
    if(ETCH_TESTS)
      target_link_libraries(etch_${M_NAME}_bench PRIVATE etch_test_support)
      add_test(NAME bench_runs/${M_NAME}
          COMMAND etch_${M_NAME}_bench --benchmark_min_time=0.001)
      set_tests_properties(bench_runs/${M_NAME} PROPERTIES LABELS unit TIMEOUT 60)
    endif()
  endif()
  foreach(file IN LISTS M_FUZZ)
    get_filename_component(name ${file} NAME_WE)
    if(ETCH_FUZZ)
      add_executable(etch_${name} ${file})
      target_link_libraries(etch_${name} PRIVATE etch_${M_NAME} ${M_LIBS})
      target_link_options(etch_${name} PRIVATE -fsanitize=fuzzer)
    elseif(ETCH_TESTS)
      add_executable(etch_${name} ${file} ${PROJECT_SOURCE_DIR}/fuzz/replay_main.cc)
      target_link_libraries(etch_${name} PRIVATE etch_${M_NAME} ${M_LIBS})
      string(REGEX REPLACE "_fuzz$" "" corpus ${name})
      add_test(NAME fuzz_replay/${corpus} COMMAND etch_${name}
          ${PROJECT_SOURCE_DIR}/tests/golden/corpus/${corpus})
      set_tests_properties(fuzz_replay/${corpus} PROPERTIES LABELS unit)
      add_dependencies(unit_tests etch_${name})
    endif()
  endforeach()
endfunction()

if(ETCH_TESTS)
  add_library(etch_test_support INTERFACE)
  target_include_directories(etch_test_support INTERFACE ${PROJECT_SOURCE_DIR}/tests)
  target_compile_definitions(etch_test_support INTERFACE ETCH_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  target_link_libraries(etch_test_support INTERFACE GTest::gtest rapidcheck)
endif()
