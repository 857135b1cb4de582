#pragma once

// The processes of a run. One, or those that mpirun started: each computes the gradients of its
// share of every batch, and all end with the same sum.

#include <cstdint>
#include <memory>
#include <span>

#include "base/error.h"

namespace etch::tune {

class Group {
 public:
  virtual ~Group() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;  // a power of two

  // Adds what this process and process `other` hold, in both; both call at the same time. A sum of
  // two is the same in either order, so both get the same bits.
  virtual Status AddWith(int other, std::span<float> values) = 0;
  virtual Status AddWith(int other, std::span<double> values) = 0;
  // True in all when it is true in any.
  virtual Result<bool> Any(bool here) = 0;
  // Ends every process of a group of several, this one included: for an error that the others have
  // not met, and would wait for. Nothing for a single process.
  virtual void Abandon() = 0;

  bool is_first() const { return rank() == 0; }
};

// A process of its own.
std::unique_ptr<Group> MakeSingleGroup();

// The group that mpirun made of this process and its siblings, or a single one when it was not
// started by mpirun. kUnsupported in a program built without MPI, and for a number of processes
// that is no power of two.
Result<std::unique_ptr<Group>> JoinGroup();

}  // namespace etch::tune
