# cmake -DFABRIC=folder -DSIM=file.cc -DOUTPUT=file.cc -P embed_fabric.cmake: the fabric's sources and
# the program around a verilated chip as C++ strings.

file(GLOB files "${FABRIC}/*.sv" "${FABRIC}/*.svh")
list(SORT files)
set(entries "")
foreach(file IN LISTS files)
  get_filename_component(name "${file}" NAME)
  file(READ "${file}" text)
  string(APPEND entries "    {\"${name}\", R\"sv(${text})sv\"},\n")
endforeach()
file(READ "${SIM}" sim)
file(WRITE "${OUTPUT}.new" "#include \"rtl/fabric_files.h\"

namespace etch::rtl {
namespace {

constexpr FabricFile kFiles[] = {
${entries}};

constexpr std::string_view kSim = R\"cc(${sim})cc\";

}  // namespace

std::span<const FabricFile> FabricFiles() { return kFiles; }

std::string_view SimSource() { return kSim; }

}  // namespace etch::rtl
")
file(COPY_FILE "${OUTPUT}.new" "${OUTPUT}" ONLY_IF_DIFFERENT)
