#include "cli/tune/answer_tasks.h"

namespace etch::cli {

std::vector<eval::AnswerTask> AnswerTasks(const tune::SampleSet& set, int64_t most) {
  std::vector<eval::AnswerTask> tasks;
  for (const tune::Sample& sample : set.samples) {
    if (std::ssize(tasks) == most) {
      break;
    }
    size_t end = sample.tokens.size();
    while (end > 0 && sample.trained[end - 1] == 0) {
      --end;
    }
    size_t begin = end;
    while (begin > 0 && sample.trained[begin - 1] != 0) {
      --begin;
    }
    if (begin > 1 && begin < end) {
      const auto at = sample.tokens.begin();
      tasks.push_back(
          {{at, at + static_cast<std::ptrdiff_t>(begin)},
           {at + static_cast<std::ptrdiff_t>(begin), at + static_cast<std::ptrdiff_t>(end)}});
    }
  }
  return tasks;
}

}  // namespace etch::cli
