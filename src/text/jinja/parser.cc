// The statements of a template: recursive descent over tags. A body ends at one of the tags its
// statement names ("endif", "else" …); elif and else become branches of one flat node, so a long
// chain is not a deep tree. What chat templates have no use for, or must not reach (other files,
// inheritance), is refused by name instead of being skipped.

#include "text/jinja/parser.h"

#include <algorithm>
#include <array>
#include <utility>

#include "text/jinja/expression_parser.h"
#include "text/jinja/token_stream.h"

namespace etch::jinja {
namespace {

constexpr std::array<std::string_view, 9> kRefusedTags = {
    "include", "import", "from", "extends", "block", "autoescape", "do", "trans", "debug"};

class Parser {
 public:
  Parser(std::string_view source, std::vector<Token> tokens)
      : stream_(source, std::move(tokens)), expressions_(&stream_) {}

  Result<Body> Run() { return ParseBody({}); }

 private:
  using EndTags = std::initializer_list<std::string_view>;

  // Statements up to `{%` and one of `end_tags`, which is current afterwards; to the end of the
  // source when there are none.
  Result<Body> ParseBody(EndTags end_tags) {
    const NestingGuard guard(&nesting_);
    if (guard.too_deep()) {
      return stream_.FailHere(ErrorCode::kUnsupported,
                              fmt::format("blocks are nested deeper than {}", kMaxNesting));
    }
    Body body;
    while (!stream_.At(TokenKind::kEnd)) {
      const Token token = stream_.Take();
      if (token.kind == TokenKind::kText) {
        body.push_back(
            {.kind = Statement::Kind::kText, .position = token.position, .text = token.text});
      } else if (token.kind == TokenKind::kVariableBegin) {
        Statement print{.kind = Statement::Kind::kPrint, .position = token.position};
        ETCH_ASSIGN_OR_RETURN(print.expression, expressions_.ParseTuple(true));
        if (!stream_.At(TokenKind::kVariableEnd)) {
          return stream_.Unexpected("'}}'");
        }
        stream_.Take();
        body.push_back(std::move(print));
      } else {  // {%
        if (std::any_of(end_tags.begin(), end_tags.end(),
                        [&](std::string_view tag) { return stream_.AtName(tag); })) {
          return body;
        }
        ETCH_ASSIGN_OR_RETURN(Statement statement, ParseStatement());
        body.push_back(std::move(statement));
      }
    }
    if (end_tags.size() > 0) {
      return stream_.Unexpected(fmt::format("{{% {} %}}", *(end_tags.end() - 1)));
    }
    return body;
  }

  // A body and its end tag `end`, with what closes that tag.
  Result<Body> ParseClosedBody(std::string_view end) {
    ETCH_ASSIGN_OR_RETURN(Body body, ParseBody({end}));
    ETCH_TRY(EndTag(end));
    return body;
  }

  // `name %}`.
  Status EndTag(std::string_view name) {
    ETCH_TRY(stream_.ExpectName(name));
    return CloseTag();
  }

  Status CloseTag() {
    if (!stream_.At(TokenKind::kBlockEnd)) {
      return stream_.Unexpected("'%}'");
    }
    stream_.Take();
    return {};
  }

  Result<Statement> ParseStatement() {
    const Token tag = stream_.current();
    ETCH_ASSIGN_OR_RETURN(const std::string name, stream_.TakeName());
    if (name == "set") {
      return ParseSet(tag.position);
    }
    if (name == "if") {
      return ParseIf(tag.position);
    }
    if (name == "for") {
      return ParseFor(tag.position);
    }
    if (name == "macro") {
      return ParseMacro(tag.position);
    }
    if (name == "call") {
      return ParseCallBlock(tag.position);
    }
    if (name == "filter") {
      return ParseFilterBlock(tag.position);
    }
    if (name == "with") {
      return ParseWith(tag.position);
    }
    if (name == "generation") {
      Statement generation{.kind = Statement::Kind::kGeneration, .position = tag.position};
      ETCH_TRY(CloseTag());
      ETCH_ASSIGN_OR_RETURN(generation.body, ParseClosedBody("endgeneration"));
      return generation;
    }
    if (name == "break" || name == "continue") {
      if (loops_ == 0) {
        return stream_.FailAt(tag.position, ErrorCode::kMalformed,
                              fmt::format("{{% {} %}} outside of a loop", name));
      }
      ETCH_TRY(CloseTag());
      return Statement{
          .kind = name == "break" ? Statement::Kind::kBreak : Statement::Kind::kContinue,
          .position = tag.position};
    }
    if (std::find(kRefusedTags.begin(), kRefusedTags.end(), name) != kRefusedTags.end()) {
      return stream_.FailAt(tag.position, ErrorCode::kUnsupported,
                            fmt::format("{{% {} %}} is not allowed in a chat template", name));
    }
    return stream_.FailAt(tag.position, ErrorCode::kMalformed,
                          fmt::format("{{% {} %}} is out of place or unknown", name));
  }

  Result<Statement> ParseSet(const Position& position) {
    Statement set{.kind = Statement::Kind::kSet, .position = position};
    ETCH_ASSIGN_OR_RETURN(set.target, expressions_.ParseTarget(true));
    if (stream_.SkipOperator("=")) {
      ETCH_ASSIGN_OR_RETURN(set.expression, expressions_.ParseTuple(true));
      ETCH_TRY(CloseTag());
      return set;
    }
    set.kind = Statement::Kind::kSetBlock;
    if (stream_.SkipOperator("|")) {
      ETCH_ASSIGN_OR_RETURN(set.expression, expressions_.ParseFilters(nullptr));
    }
    ETCH_TRY(CloseTag());
    ETCH_ASSIGN_OR_RETURN(set.body, ParseClosedBody("endset"));
    return set;
  }

  Result<Statement> ParseIf(const Position& position) {
    Statement statement{.kind = Statement::Kind::kIf, .position = position};
    bool has_condition = true;
    while (true) {
      Branch branch;
      if (has_condition) {
        ETCH_ASSIGN_OR_RETURN(branch.condition, expressions_.ParseTuple(true));
      }
      ETCH_TRY(CloseTag());
      if (has_condition) {
        ETCH_ASSIGN_OR_RETURN(branch.body, ParseBody({"elif", "else", "endif"}));
      } else {
        ETCH_ASSIGN_OR_RETURN(branch.body, ParseBody({"endif"}));
      }
      statement.branches.push_back(std::move(branch));
      if (stream_.AtName("endif")) {
        ETCH_TRY(EndTag("endif"));
        return statement;
      }
      has_condition = stream_.Take().text == "elif";
    }
  }

  Result<Statement> ParseFor(const Position& position) {
    Statement loop{.kind = Statement::Kind::kFor, .position = position};
    ETCH_ASSIGN_OR_RETURN(loop.target, expressions_.ParseTarget(false));
    ETCH_TRY(stream_.ExpectName("in"));
    ETCH_ASSIGN_OR_RETURN(loop.expression, expressions_.ParseTuple(false));
    if (stream_.SkipName("if")) {
      ETCH_ASSIGN_OR_RETURN(loop.condition, expressions_.ParseExpression());
    }
    if (stream_.AtName("recursive")) {
      return stream_.FailHere(ErrorCode::kUnsupported, "recursive loops are not supported");
    }
    ETCH_TRY(CloseTag());
    ++loops_;
    ETCH_ASSIGN_OR_RETURN(loop.body, ParseBody({"else", "endfor"}));
    --loops_;
    if (stream_.AtName("else")) {
      ETCH_TRY(EndTag("else"));
      ETCH_ASSIGN_OR_RETURN(loop.otherwise, ParseBody({"endfor"}));
    }
    ETCH_TRY(EndTag("endfor"));
    return loop;
  }

  // (name, name=default …), if there is one.
  Result<std::vector<Binding>> ParseParameters() {
    std::vector<Binding> parameters;
    ETCH_TRY(stream_.ExpectOperator("("));
    while (!stream_.AtOperator(")")) {
      Binding parameter;
      ETCH_ASSIGN_OR_RETURN(parameter.name, stream_.TakeName());
      if (stream_.SkipOperator("=")) {
        ETCH_ASSIGN_OR_RETURN(parameter.value, expressions_.ParseExpression());
      } else if (!parameters.empty() && parameters.back().value != nullptr) {
        return stream_.FailHere(ErrorCode::kMalformed,
                                "a parameter without a default follows one with a default");
      }
      parameters.push_back(std::move(parameter));
      if (!stream_.SkipOperator(",")) {
        break;
      }
    }
    ETCH_TRY(stream_.ExpectOperator(")"));
    return parameters;
  }

  // The body of a macro is not inside of the loop around it.
  Result<Body> ParseMacroBody(std::string_view end) {
    const int loops = std::exchange(loops_, 0);
    ETCH_ASSIGN_OR_RETURN(Body body, ParseClosedBody(end));
    loops_ = loops;
    return body;
  }

  Result<Statement> ParseMacro(const Position& position) {
    Statement macro{.kind = Statement::Kind::kMacro, .position = position};
    ETCH_ASSIGN_OR_RETURN(macro.text, stream_.TakeName());
    ETCH_ASSIGN_OR_RETURN(macro.bindings, ParseParameters());
    ETCH_TRY(CloseTag());
    ETCH_ASSIGN_OR_RETURN(macro.body, ParseMacroBody("endmacro"));
    return macro;
  }

  Result<Statement> ParseCallBlock(const Position& position) {
    Statement call{.kind = Statement::Kind::kCallBlock, .position = position, .text = "caller"};
    if (stream_.AtOperator("(")) {
      ETCH_ASSIGN_OR_RETURN(call.bindings, ParseParameters());
    }
    ETCH_ASSIGN_OR_RETURN(call.expression, expressions_.ParseCallee());
    if (call.expression->kind != Expression::Kind::kCall) {
      return stream_.Unexpected("the call of a macro");
    }
    ETCH_TRY(CloseTag());
    ETCH_ASSIGN_OR_RETURN(call.body, ParseMacroBody("endcall"));
    return call;
  }

  Result<Statement> ParseFilterBlock(const Position& position) {
    Statement filter{.kind = Statement::Kind::kFilterBlock, .position = position};
    ETCH_ASSIGN_OR_RETURN(filter.expression, expressions_.ParseFilters(nullptr));
    ETCH_TRY(CloseTag());
    ETCH_ASSIGN_OR_RETURN(filter.body, ParseClosedBody("endfilter"));
    return filter;
  }

  Result<Statement> ParseWith(const Position& position) {
    Statement scope{.kind = Statement::Kind::kScope, .position = position};
    while (!stream_.At(TokenKind::kBlockEnd)) {
      Binding binding;
      ETCH_ASSIGN_OR_RETURN(binding.name, stream_.TakeName());
      ETCH_TRY(stream_.ExpectOperator("="));
      ETCH_ASSIGN_OR_RETURN(binding.value, expressions_.ParseExpression());
      scope.bindings.push_back(std::move(binding));
      if (!stream_.SkipOperator(",")) {
        break;
      }
    }
    ETCH_TRY(CloseTag());
    ETCH_ASSIGN_OR_RETURN(scope.body, ParseClosedBody("endwith"));
    return scope;
  }

  TokenStream stream_;
  ExpressionParser expressions_;
  int nesting_ = 0;
  int loops_ = 0;  // loops around the current statement
};

}  // namespace

Result<Body> Parse(std::string_view source) {
  ETCH_ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(source));
  return Parser(source, std::move(tokens)).Run();
}

}  // namespace etch::jinja
