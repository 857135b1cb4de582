#pragma once

// README.md of an adapter: what it is, what it was trained on and against, how good it is, and how
// to load it.

#include <string>

#include "adapter/adapter.h"
#include "image/image.h"

namespace etch::exporting {

// What only the caller knows. Texts are Markdown and stand as they are; an empty one leaves its
// section out.
struct CardInfo {
  std::string title{};       // empty: the adapter's name
  std::string data{};        // the training data in words
  std::string training{};    // settings
  std::string evaluation{};  // figures, with how they were measured
  std::string license{};     // an SPDX identifier for the metadata
  // Chat template of a bundle whose base has none; the rows were written by it.
  std::string chat_template{};
  std::string image_file{};  // how the commands name the image; empty: NAME.etch
};

std::string ModelCard(const adapter::Adapter& adapter, const image::Image& image,
                      const CardInfo& info);

}  // namespace etch::exporting
