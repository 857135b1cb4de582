#pragma once

// From the facts of a schema to the nodes that the machine reads.

#include <memory>

#include "base/error.h"
#include "grammar/program.h"
#include "grammar/schema_source.h"

namespace etch::grammar {

// kMismatch when no JSON text satisfies the schema.
Result<std::unique_ptr<Program>> CompileSchema(SchemaSource source, Budget& budget);

}  // namespace etch::grammar
