// etch completion: shell completion for bash and zsh, made from the options that the commands
// declare.

#include <fmt/format.h>

#include <string>

#include "cli/commands.h"

namespace etch::cli {
namespace {

std::string OptionWords(const CLI::App& command) {
  std::string words;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      words += " --" + name;
    }
    for (const std::string& name : option->get_snames()) {
      words += " -" + name;
    }
  }
  return words;
}

// Cases of a shell `case` over the path of subcommands ("run", "adapter verify").
std::string Cases(const CLI::App& command, const std::string& path) {
  std::string words = OptionWords(command);
  std::string nested;
  for (const CLI::App* child : command.get_subcommands([](const CLI::App*) { return true; })) {
    words += " " + child->get_name();
    nested += Cases(*child, path.empty() ? child->get_name() : path + " " + child->get_name());
  }
  return fmt::format("    \"{}\") words=\"{}\" ;;\n{}", path,
                     words.empty() ? words : words.substr(1), nested);
}

std::string Script(const CLI::App& app, bool zsh) {
  // The path is every word so far that is not an option and names a subcommand.
  return fmt::format(
      "{}_etch() {{\n"
      "  local path=\"\" words=\"\" word next index\n"
      "  for ((index = 1; index < COMP_CWORD; ++index)); do\n"
      "    word=\"${{COMP_WORDS[index]}}\"\n"
      "    next=\"${{path:+$path }}$word\"\n"
      "    case \" {} \" in *\" ${{next// /.}} \"*) path=\"$next\" ;; esac\n"
      "  done\n"
      "  case \"$path\" in\n"
      "{}"
      "  esac\n"
      "  COMPREPLY=($(compgen -W \"$words\" -- \"${{COMP_WORDS[COMP_CWORD]}}\"))\n"
      "  if [[ \"${{COMP_WORDS[COMP_CWORD]}}\" != -* && -n \"$path\" ]]; then\n"
      "    COMPREPLY+=($(compgen -f -- \"${{COMP_WORDS[COMP_CWORD]}}\"))\n"
      "  fi\n"
      "}}\n"
      "complete -o filenames -F _etch etch\n",
      zsh ? "autoload -U +X bashcompinit && bashcompinit\n" : "",
      [&] {
        std::string paths;
        for (const CLI::App* child : app.get_subcommands([](const CLI::App*) { return true; })) {
          paths += child->get_name() + " ";
          for (const CLI::App* grandchild :
               child->get_subcommands([](const CLI::App*) { return true; })) {
            paths += child->get_name() + "." + grandchild->get_name() + " ";
          }
        }
        return paths;
      }(),
      Cases(app, ""));
}

}  // namespace

void AddCompletion(CLI::App& app, int* exit_code) {
  CLI::App* command = app.add_subcommand("completion", "Print a completion script for the shell");
  command->footer(
      "  bash:  etch completion bash > /etc/bash_completion.d/etch\n"
      "  zsh:   etch completion zsh >> ~/.zshrc");
  auto shell = std::make_shared<std::string>();
  command->add_option("SHELL", *shell, "bash or zsh")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh"}));
  command->callback([&app, shell, exit_code] {
    fmt::print("{}", Script(app, *shell == "zsh"));
    *exit_code = 0;
  });
}

}  // namespace etch::cli
