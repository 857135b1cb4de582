#pragma once

// Who is asking: keys of the operator (`--api-key-file`), and keys of tenants.

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "tenant/directory.h"

namespace etch::serve {

// Somebody who was let in.
struct Caller {
  tenant::Grant grant;  // without a tenant: a key of the operator, or a server without keys
  bool admin = false;

  const tenant::Tenant* tenant() const { return grant.tenant.get(); }
  std::string tenant_name() const { return tenant() != nullptr ? tenant()->name : ""; }
  bool MayUseBase() const { return tenant() == nullptr || tenant()->base; }
  bool MayUseAdapter(std::string_view name) const {
    return tenant() == nullptr || tenant()->MayUseAdapter(name);
  }
};

class Access {
 public:
  // `directory` may be null and must outlive this. Without keys and without a directory everybody
  // is let in, as admin; with a directory nobody is without a key, even when it is empty.
  Access(const std::vector<std::string>& keys, tenant::Directory* directory,
         const std::vector<std::string>& admin_keys = {});

  bool keys_exist() const {
    return directory_ != nullptr || !digests_.empty() || !admin_digests_.empty();
  }
  // `authorization` is the header's value. kNotFound when the key is unknown or absent; another
  // error when the directory cannot be read.
  Result<Caller> Authenticate(std::string_view authorization) const;

 private:
  std::vector<std::string> digests_;
  std::vector<std::string> admin_digests_;
  tenant::Directory* directory_;
};

}  // namespace etch::serve
