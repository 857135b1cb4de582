#pragma once

// Texts that differ only in what does not matter: case, white space, punctuation at the edge of
// words. Duplicates are found by it, and rows that share a prompt stay on one side of a split.

#include <cstdint>
#include <string>
#include <string_view>

#include "tune/data/dataset.h"

namespace etch::tune {

// ASCII letters in lower case, white space as one space, and . , ; : ! ? ' " left out where no
// letter or digit follows directly or none stands before ("3.5" and "don't" stay).
std::string Normalize(std::string_view text);

// What comes before the last answer: normalised roles and texts of the messages up to it; all of
// the text for schema text.
std::string NormalizedPrompt(const Example& example);
// The last answer; empty for schema text, or when there is none.
std::string NormalizedAnswer(const Example& example);

}  // namespace etch::tune
