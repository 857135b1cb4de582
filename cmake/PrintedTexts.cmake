# Run at installation: bash's completion and etch.1, from what the program prints. (zsh's completion
# is for ~/.zshrc, not for a folder.)
# In: etch_program, etch_version; out: the file etch_bash, the folder etch_man.

function(etch_printed result)
  execute_process(COMMAND "${etch_program}" ${ARGN} OUTPUT_VARIABLE text
    COMMAND_ERROR_IS_FATAL ANY)
  set(${result} "${text}" PARENT_SCOPE)
endfunction()

etch_printed(bash completion bash)
file(WRITE "${etch_bash}" "${bash}")

# A help text between .nf and .fi: backslashes and minus signs are escaped, and no line may begin
# with a dot or an apostrophe.
function(etch_section name)
  etch_printed(text ${ARGN} --help)
  string(REPLACE "\\" "\\e" text "${text}")
  string(REPLACE "-" "\\-" text "${text}")
  string(REGEX REPLACE "(^|\n)([.'])" "\\1\\\\&\\2" text "${text}")
  file(APPEND "${page}" ".SH ${name}\n.nf\n${text}.fi\n")
endfunction()

set(page "${etch_man}/etch.1")
file(WRITE "${page}" ".TH ETCH 1 \"\" \"etch ${etch_version}\" \"User Commands\"\n.SH NAME\n"
  "etch \\- hardwire a language model to 3 bits and serve it with adapters\n"
  ".SH SYNOPSIS\n.B etch\n.I COMMAND\n[options]\n")
etch_section("COMMANDS")
etch_printed(help --help)
string(REGEX MATCHALL "\n  [a-z]+ +[A-Z]" commands "${help}")
foreach(line IN LISTS commands)
  string(REGEX REPLACE "^\n  ([a-z]+).*" "\\1" command "${line}")
  string(TOUPPER "etch ${command}" title)
  etch_section("${title}" ${command})
endforeach()
file(APPEND "${page}" ".SH FILES\n.I /etc/etch/serve.conf\n.RS\nthe arguments of etch.service\n"
  ".RE\n.I /var/lib/etch\n.RS\nits images, adapters and records\n.RE\n")
find_program(etch_gzip gzip REQUIRED)
execute_process(COMMAND "${etch_gzip}" -9nf "${page}" COMMAND_ERROR_IS_FATAL ANY)
