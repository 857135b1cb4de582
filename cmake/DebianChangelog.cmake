# Run when a package is made: the changelog as Debian writes it, which points to the project's own.
# In: etch_version, etch_maintainer, etch_changes (a file); out: files in the folder etch_doc.

string(TIMESTAMP date "%a, %d %b %Y %H:%M:%S +0000" UTC)  # SOURCE_DATE_EPOCH, where it is set
file(WRITE "${etch_doc}/changelog" "etch (${etch_version}) unstable; urgency=medium\n\n"
  "  * See CHANGELOG.md.gz.\n\n -- ${etch_maintainer}  ${date}\n")
file(READ "${etch_changes}" changes)
file(WRITE "${etch_doc}/CHANGELOG.md" "${changes}")
find_program(etch_gzip gzip REQUIRED)
execute_process(COMMAND "${etch_gzip}" -9nf "${etch_doc}/changelog" "${etch_doc}/CHANGELOG.md"
  COMMAND_ERROR_IS_FATAL ANY)
