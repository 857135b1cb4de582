# cmake -DFABRIC=folder -DSIM=folder -DINTERFACE=file.md -DOUTPUT=file.cc -P embed_fabric.cmake
#
# The fabric's sources, the program around a verilated chip with what it observes, and docs/chip.md
# as C++ strings.

file(GLOB files "${FABRIC}/*.sv" "${FABRIC}/*.svh")
list(SORT files)
set(entries "")
foreach(file IN LISTS files)
  get_filename_component(name "${file}" NAME)
  file(READ "${file}" text)
  string(APPEND entries "    {\"${name}\", R\"sv(${text})sv\"},\n")
endforeach()
file(READ "${SIM}/chip_sim.cc" sim)
file(READ "${SIM}/observe.vlt" observed)
file(READ "${INTERFACE}" interface)
file(WRITE "${OUTPUT}.new" "#include \"rtl/fabric_files.h\"

namespace etch::rtl {
namespace {

constexpr FabricFile kFiles[] = {
${entries}};

constexpr std::string_view kInterface = R\"md(${interface})md\";

constexpr std::string_view kSim = R\"cc(${sim})cc\";

constexpr std::string_view kObserved = R\"vlt(${observed})vlt\";

}  // namespace

std::span<const FabricFile> FabricFiles() { return kFiles; }

std::string_view SimSource() { return kSim; }

std::string_view ObservedSignals() { return kObserved; }

std::string_view InterfaceText() { return kInterface; }

}  // namespace etch::rtl
")
file(COPY_FILE "${OUTPUT}.new" "${OUTPUT}" ONLY_IF_DIFFERENT)
