#include "serve/lora_table.h"

#include <algorithm>

namespace etch::serve {

int64_t LoraTable::IdOf(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto found = std::ranges::find(names_, name);
  if (found == names_.end()) {
    names_.push_back(name);
    return std::ssize(names_) - 1;
  }
  return found - names_.begin();
}

std::string LoraTable::NameOf(int64_t id) const {
  const std::lock_guard lock(mutex_);
  return id >= 0 && id < std::ssize(names_) ? names_[static_cast<size_t>(id)] : "";
}

double LoraTable::Scale(int64_t id) const {
  const std::lock_guard lock(mutex_);
  const auto found = scales_.find(id);
  return found == scales_.end() ? 0.0 : found->second;
}

void LoraTable::SetScales(std::map<int64_t, double> scales) {
  const std::lock_guard lock(mutex_);
  scales_ = std::move(scales);
}

std::map<int64_t, double> LoraTable::Scales() const {
  const std::lock_guard lock(mutex_);
  return scales_;
}

}  // namespace etch::serve
