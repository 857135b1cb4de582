# etch_precompiled_headers(target library|test)
#
# Lets a target read headers of other libraries from a binary form that is made once for all
# targets of its kind. Only headers that most sources of the kind read anyway are in it, and none of
# Etch's own, so that a change here rebuilds nothing more. GCC only: clang's builds (fuzz, tidy)
# read each source on its own and so still find a missing include.
#
# A source with instruction-set flags of its own cannot use the binary form, and then reads the
# headers as text; that is meant to be silent.

option(ETCH_PRECOMPILE "Precompile the headers of other libraries (GCC only)" ON)
set(CMAKE_PCH_WARN_INVALID OFF)

set(etch_library_headers
  <algorithm> <array> <cmath> <filesystem> <map> <memory> <optional> <span> <string> <vector>
  <fmt/format.h> <tl/expected.hpp>)
set(etch_test_headers ${etch_library_headers} <fstream> <gtest/gtest.h>)

if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND ETCH_PRECOMPILE)
  # CMake keeps a precompiled header with a target that has a source, here an empty one.
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/empty.cc CONTENT "")
  set(kinds library)
  if(ETCH_TESTS)
    list(APPEND kinds test)
  endif()
  foreach(kind IN LISTS kinds)
    add_library(etch_${kind}_headers OBJECT ${PROJECT_BINARY_DIR}/empty.cc)
    target_link_libraries(etch_${kind}_headers PRIVATE etch_options fmt::fmt tl::expected)
    target_precompile_headers(etch_${kind}_headers PRIVATE ${etch_${kind}_headers})
  endforeach()
  if(ETCH_TESTS)
    # Tests are programs: their code is position independent in the programs' way.
    set_target_properties(etch_test_headers PROPERTIES POSITION_INDEPENDENT_CODE OFF)
    target_compile_options(etch_test_headers PRIVATE -fPIE)
    target_link_libraries(etch_test_headers PRIVATE GTest::gtest)
  endif()
endif()

function(etch_precompiled_headers target kind)
  if(TARGET etch_${kind}_headers)
    target_precompile_headers(${target} REUSE_FROM etch_${kind}_headers)
  endif()
endfunction()
