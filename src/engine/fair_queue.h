#pragma once

// Requests that wait, taken in turn from each client that has any: a client with a thousand waiting
// requests delays the only one of another by one request, not by a thousand.

#include <cstdint>
#include <deque>
#include <list>
#include <string>
#include <utility>
#include <vector>

namespace etch::engine {

template <class T>
class FairQueue {
 public:
  void Push(const std::string& client, T item) {
    LaneOf(client, lanes_.end())->items.push_back(std::move(item));
    ++size_;
  }

  // The first item of the client whose turn it is, and the client. Not for an empty queue.
  std::pair<std::string, T> Pop() {
    auto lane = lanes_.begin();
    std::pair<std::string, T> taken(lane->client, std::move(lane->items.front()));
    lane->items.pop_front();
    if (lane->items.empty()) {
      lanes_.erase(lane);
    } else {
      lanes_.splice(lanes_.end(), lanes_, lane);
    }
    --size_;
    return taken;
  }

  // Undoes Pop: the item is the next to be taken again.
  void PutBack(const std::string& client, T item) {
    const auto lane = LaneOf(client, lanes_.begin());
    lane->items.push_front(std::move(item));
    lanes_.splice(lanes_.begin(), lanes_, lane);
    ++size_;
  }

  // Takes out every item that `predicate` holds for, in order of arrival within a client.
  template <class Predicate>
  std::vector<T> Take(const Predicate& predicate) {
    std::vector<T> taken;
    for (Lane& lane : lanes_) {
      std::deque<T> kept;
      for (T& item : lane.items) {
        if (predicate(item)) {
          taken.push_back(std::move(item));
        } else {
          kept.push_back(std::move(item));
        }
      }
      lane.items.swap(kept);
    }
    lanes_.remove_if([](const Lane& lane) { return lane.items.empty(); });
    size_ -= std::ssize(taken);
    return taken;
  }

  int64_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

 private:
  struct Lane {
    std::string client;
    std::deque<T> items;  // never empty between calls
  };
  using Place = typename std::list<Lane>::iterator;

  // The client's lane; a new one stands before `place`.
  Place LaneOf(const std::string& client, Place place) {
    for (auto lane = lanes_.begin(); lane != lanes_.end(); ++lane) {
      if (lane->client == client) {
        return lane;
      }
    }
    return lanes_.insert(place, Lane{client, {}});
  }

  std::list<Lane> lanes_;  // the next to be served stands first
  int64_t size_ = 0;
};

}  // namespace etch::engine
