# cmake -DHEADER=Vetch_NAME.h -DMODULE=etch_NAME -DLABEL=label -DPARAMETERS="-GNAME=VALUE…"
#   -DOUTPUT=unit_ports.h -P unit_ports.cmake
#
# The ports of a verilated unit as C++, from the header that Verilator writes.

file(STRINGS "${HEADER}" lines REGEX "VL_(IN|OUT)[0-9W]*\\(&")
set(visits "")
foreach(line IN LISTS lines)
  if(NOT line MATCHES "VL_(IN|OUT)[0-9W]*\\(&([a-z0-9_]+),([0-9]+),0")
    message(FATAL_ERROR "${HEADER}: what port is ${line}")
  endif()
  math(EXPR bits "${CMAKE_MATCH_3} + 1")
  set(is_input false)
  if(CMAKE_MATCH_1 STREQUAL "IN")
    set(is_input true)
  endif()
  string(APPEND visits
    "  visit(\"${CMAKE_MATCH_2}\", unit.${CMAKE_MATCH_2}, ${bits}, ${is_input});\n")
endforeach()
file(WRITE "${OUTPUT}.new" "#pragma once

// Written by unit_ports.cmake.

namespace etch::rtl::test {

inline constexpr char kUnitModule[] = \"${MODULE}\";
inline constexpr char kUnitLabel[] = \"${LABEL}\";
inline constexpr char kUnitParameters[] = \"${PARAMETERS}\";

template <class Unit, class Visit>
void VisitPorts(Unit& unit, Visit visit) {
${visits}}

}  // namespace etch::rtl::test
")
file(COPY_FILE "${OUTPUT}.new" "${OUTPUT}" ONLY_IF_DIFFERENT)
