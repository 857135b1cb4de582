#pragma once

// Files of adapters in the folder of --adapters: uploaded and removed while the server runs.
//
// An upload is written below `.aside-…` in that folder, where no reading of the folder looks, read
// as any adapter is, and only then renamed into its place. What is removed goes the other way.

#include <filesystem>
#include <string>
#include <string_view>

#include "serve/reply.h"
#include "serve/service.h"

namespace etch::serve {

// Letters, digits, '.', '_' and '-', so that names are also names of files, labels and parts of
// paths; kInvalidArgument otherwise.
Status CheckAdapterName(const std::string& name);

// A form's adapter becomes one of the folder and of the registry, or nothing has changed.
Reply UploadAdapter(Service& service, const RouteRequest& route);
// Unloads the adapter and removes its files.
Reply RemoveAdapter(Service& service, const std::string& name);
// Removes what uploads and removals that were cut off have left in `folder`, an hour ago or before.
void SweepAside(const std::filesystem::path& folder);

}  // namespace etch::serve
