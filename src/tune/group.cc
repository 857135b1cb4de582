#include "tune/group.h"

#include <cstdlib>

#ifdef ETCH_MPI
#include <mpi.h>

#include <vector>
#endif

namespace etch::tune {
namespace {

class SingleGroup : public Group {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  Status AddWith(int /*other*/, std::span<float> /*values*/) override { return {}; }
  Status AddWith(int /*other*/, std::span<double> /*values*/) override { return {}; }
  Result<bool> Any(bool here) override { return here; }
  void Abandon() override {}
};

#ifdef ETCH_MPI

// MPI 3.1 §3.10 send-receive, §5.9 reduce. An error inside of the library ends the job (its
// default).
class MpiGroup : public Group {
 public:
  MpiGroup() {
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
  }
  ~MpiGroup() override { MPI_Finalize(); }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  Status AddWith(int other, std::span<float> values) override {
    return Exchange(other, values, MPI_FLOAT);
  }
  Status AddWith(int other, std::span<double> values) override {
    return Exchange(other, values, MPI_DOUBLE);
  }
  Result<bool> Any(bool here) override {
    int mine = here ? 1 : 0;
    int any = 0;
    MPI_Allreduce(&mine, &any, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    return any != 0;
  }
  void Abandon() override { MPI_Abort(MPI_COMM_WORLD, 1); }

 private:
  template <class T>
  Status Exchange(int other, std::span<T> values, MPI_Datatype type) {
    constexpr size_t kPart = size_t{1} << 20;
    std::vector<T> theirs(std::min(kPart, values.size()));
    for (size_t begin = 0; begin < values.size(); begin += kPart) {
      const size_t count = std::min(kPart, values.size() - begin);
      MPI_Sendrecv(values.data() + begin, static_cast<int>(count), type, other, 0, theirs.data(),
                   static_cast<int>(count), type, other, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      for (size_t index = 0; index < count; ++index) {
        values[begin + index] += theirs[index];
      }
    }
    return {};
  }

  int rank_ = 0;
  int size_ = 1;
};

#endif

}  // namespace

std::unique_ptr<Group> MakeSingleGroup() { return std::make_unique<SingleGroup>(); }

Result<std::unique_ptr<Group>> JoinGroup() {
  const char* size = std::getenv("OMPI_COMM_WORLD_SIZE");
  if (size == nullptr || std::atoi(size) <= 1) {
    return MakeSingleGroup();
  }
#ifdef ETCH_MPI
  MPI_Init(nullptr, nullptr);
  auto group = std::make_unique<MpiGroup>();
  if ((group->size() & (group->size() - 1)) != 0) {
    return Fail(ErrorCode::kUnsupported,
                "{} processes: sums over processes need a power of two; use mpirun -n 2, 4, 8 …",
                group->size());
  }
  return group;
#else
  return Fail(ErrorCode::kUnsupported,
              "this etch was built without MPI; install libopenmpi-dev and build again");
#endif
}

}  // namespace etch::tune
