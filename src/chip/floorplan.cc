#include "chip/floorplan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/html.h"

namespace etch::chip {
namespace {

// How far a row of rectangles is from squares: the worst ratio of sides.
double WorstRatio(const std::vector<double>& areas, double side) {
  double sum = 0.0;
  for (const double area : areas) {
    sum += area;
  }
  const double depth = sum / side;
  double worst = 1.0;
  for (const double area : areas) {
    const double length = area / depth;
    worst = std::max({worst, length / depth, depth / length});
  }
  return worst;
}

// The room that is left.
struct Room {
  double x = 0.0;
  double y = 0.0;
  double width = 0.0;
  double height = 0.0;
};

// Puts a row of places along the shorter side of the room.
void PutRow(std::vector<Place>& places, size_t begin, size_t end, Room& room) {
  double sum = 0.0;
  for (size_t index = begin; index < end; ++index) {
    sum += places[index].width;  // areas, until they are placed
  }
  const bool upright = room.width >= room.height;
  const double depth = sum / (upright ? room.height : room.width);
  double at = upright ? room.y : room.x;
  for (size_t index = begin; index < end; ++index) {
    Place& place = places[index];
    const double length = place.width / depth;
    place.x = upright ? room.x : at;
    place.y = upright ? at : room.y;
    place.width = upright ? depth : length;
    place.height = upright ? length : depth;
    at += length;
  }
  (upright ? room.x : room.y) += depth;
  (upright ? room.width : room.height) -= depth;
}

// A letter of 12 px is some 7 wide.
double WidthOf(std::string_view text) { return 7.0 * static_cast<double>(text.size()); }

// The words of `text` in lines of at most `width` px; empty when one is longer.
std::vector<std::string> Lines(const std::string& text, double width) {
  std::vector<std::string> lines;
  size_t at = 0;
  while (at < text.size()) {
    const size_t end = std::min(text.find(' ', at), text.size());
    const std::string word = text.substr(at, end - at);
    if (WidthOf(word) > width) {
      return {};
    }
    if (!lines.empty() && WidthOf(lines.back()) + 7.0 + WidthOf(word) <= width) {
      lines.back() += " " + word;
    } else {
      lines.push_back(word);
    }
    at = end + 1;
  }
  return lines;
}

// Name and area where they fit, upright or turned; what does not fit is in the table.
std::string LabelSvg(const std::string& name, double area, double x, double y, double width,
                     double height) {
  constexpr double kMargin = 6.0;
  constexpr double kLine = 15.0;
  const auto fits = [&](const std::vector<std::string>& lines, double room) {
    return !lines.empty() && kLine * static_cast<double>(lines.size()) + kMargin <= room;
  };
  const std::string with_area = fmt::format("{} {:.3g} mm²", name, area);
  std::string text;
  const auto add = [&](const std::vector<std::string>& lines, const std::string& place) {
    text = fmt::format("<text class=\"plan\" {}>", place);
    for (size_t line = 0; line < lines.size(); ++line) {
      text += fmt::format("<tspan x=\"{0:.1f}\" dy=\"{1:.0f}\">{2}</tspan>", kMargin,
                          line == 0 ? 0.0 : kLine, EscapeHtml(lines[line]));
    }
    text += "</text>";
  };
  const std::string upright = fmt::format("transform=\"translate({:.1f},{:.1f})\"", x, y + kLine);
  const std::string turned =
      fmt::format("transform=\"translate({:.1f},{:.1f}) rotate(90)\"", x + width - kLine, y);
  for (const std::string& label : {with_area, name}) {
    if (const auto lines = Lines(label, width - 2.0 * kMargin); fits(lines, height)) {
      add(lines, upright);
      return text;
    }
    if (const auto lines = Lines(label, height - 2.0 * kMargin); fits(lines, width)) {
      add(lines, turned);
      return text;
    }
  }
  return text;
}

}  // namespace

std::vector<Place> Floorplan(const std::vector<Block>& blocks, double chips) {
  std::vector<Place> places;
  double area = 0.0;
  for (const Block& block : blocks) {
    if (block.area_mm2 > 0.0) {
      places.push_back({block.name, block.kind, 0.0, 0.0, block.area_mm2 / chips, 0.0});
      area += block.area_mm2 / chips;
    }
  }
  std::ranges::stable_sort(places, std::greater<>(), &Place::width);
  const double side = std::sqrt(area);
  Room room{0.0, 0.0, side, side};
  size_t begin = 0;
  while (begin < places.size()) {
    const double shorter = std::min(room.width, room.height);
    std::vector<double> row = {places[begin].width};
    size_t end = begin + 1;
    while (end < places.size()) {
      std::vector<double> longer = row;
      longer.push_back(places[end].width);
      if (WorstRatio(longer, shorter) > WorstRatio(row, shorter)) {
        break;
      }
      row = std::move(longer);
      ++end;
    }
    PutRow(places, begin, end, room);
    begin = end;
  }
  return places;
}

std::string_view ColourOf(BlockKind kind) {
  switch (kind) {
    case BlockKind::kRom:
      return "#2f6fb2";
    case BlockKind::kSram:
      return "#2e8b57";
    case BlockKind::kLogic:
      return "#c2571a";
    case BlockKind::kPort:
      return "#7a5ea8";
    case BlockKind::kOverhead:
      return "#6e7781";
  }
  return "";
}

std::string_view KindName(BlockKind kind) {
  switch (kind) {
    case BlockKind::kRom:
      return "ROM";
    case BlockKind::kSram:
      return "SRAM";
    case BlockKind::kLogic:
      return "logic";
    case BlockKind::kPort:
      return "port";
    case BlockKind::kOverhead:
      return "wires, overhead";
  }
  return "";
}

std::string FloorplanSvg(const std::vector<Place>& places, double pixels) {
  double side = 0.0;
  for (const Place& place : places) {
    side = std::max({side, place.x + place.width, place.y + place.height});
  }
  const double scale = pixels / side;
  constexpr double kFoot = 34.0;
  std::string svg = fmt::format(
      "<svg viewBox=\"0 0 {0:.0f} {1:.0f}\" style=\"max-width:{0:.0f}px\" role=\"img\" "
      "aria-label=\"floorplan\">\n",
      pixels, pixels + kFoot);
  for (const Place& place : places) {
    const double x = place.x * scale;
    const double y = pixels - (place.y + place.height) * scale;
    const double width = place.width * scale;
    const double height = place.height * scale;
    const std::string name = EscapeHtml(place.block);
    const double area = place.width * place.height;
    svg += fmt::format(
        "<g><title>{}: {:.3g} mm²</title><rect x=\"{:.2f}\" y=\"{:.2f}\" width=\"{:.2f}\" "
        "height=\"{:.2f}\" fill=\"{}\" stroke=\"#fff\" stroke-width=\"1\"/>",
        name, area, x, y, width, height, ColourOf(place.kind));
    svg += LabelSvg(place.block, area, x, y, width, height);
    svg += "</g>\n";
  }
  double bar = 5.0;
  while (bar * 4.0 > side * 2.0) {
    bar /= 5.0;
  }
  svg += fmt::format(
      "<rect x=\"0\" y=\"{0:.0f}\" width=\"{1:.1f}\" height=\"3\" class=\"bar\"/>"
      "<text x=\"0\" y=\"{2:.0f}\" class=\"label\">{3:g} mm; the die is {4:.3g} mm a side</text>"
      "</svg>\n",
      pixels + 10.0, bar * scale, pixels + 28.0, bar, side);
  return svg;
}

}  // namespace etch::chip
