# cmake -DDATA=folder -DOUTPUT=file.cc -P embed_data.cmake
#
# The JSON files under data/ as C++ strings.

file(GLOB_RECURSE files RELATIVE "${DATA}" "${DATA}/*.json")
list(SORT files)
set(entries "")
foreach(file IN LISTS files)
  file(READ "${DATA}/${file}" text)
  string(APPEND entries "    {\"${file}\", R\"json(${text})json\"},\n")
endforeach()
file(WRITE "${OUTPUT}.new" "#include \"chip/inputs.h\"

namespace etch::chip {
namespace {

constexpr DataFile kFiles[] = {
${entries}};

}  // namespace

std::span<const DataFile> DataFiles() { return kFiles; }

}  // namespace etch::chip
")
file(COPY_FILE "${OUTPUT}.new" "${OUTPUT}" ONLY_IF_DIFFERENT)
