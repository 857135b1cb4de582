#include "serve/access.h"

#include "tenant/api_key.h"
#include "tenant/calendar.h"

namespace etch::serve {

Access::Access(const std::vector<std::string>& keys, tenant::Directory* directory,
               const std::vector<std::string>& admin_keys)
    : directory_(directory) {
  for (const std::string& key : admin_keys) {
    admin_digests_.push_back(tenant::Digest(key));
  }
  for (const std::string& key : keys) {
    digests_.push_back(tenant::Digest(key));
  }
}

Result<Caller> Access::Authenticate(std::string_view authorization) const {
  Caller caller;
  if (!keys_exist()) {
    caller.admin = true;
    return caller;
  }
  constexpr std::string_view kScheme = "Bearer ";
  const std::string_view given = authorization.starts_with(kScheme)
                                     ? authorization.substr(kScheme.size())
                                     : std::string_view();
  // Digests have one length, so that not even the length of a key shows in the time.
  const std::string digest = tenant::Digest(given);
  bool is_operator = false;
  for (const std::string& known : admin_digests_) {
    caller.admin = tenant::EqualInConstantTime(digest, known) || caller.admin;
  }
  for (const std::string& known : digests_) {
    is_operator = tenant::EqualInConstantTime(digest, known) || is_operator;
  }
  if (is_operator || caller.admin) {
    return caller;
  }
  if (directory_ != nullptr) {
    ETCH_ASSIGN_OR_RETURN(caller.grant, directory_->Authenticate(given, tenant::UnixTime()));
    caller.admin = caller.grant.admin;
    if (caller.tenant() != nullptr) {
      return caller;
    }
  }
  return Fail(ErrorCode::kNotFound, "a valid API key is needed: Authorization: Bearer KEY");
}

}  // namespace etch::serve
