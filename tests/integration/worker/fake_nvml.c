/* A libnvidia-ml that needs no GPU: three boards as data, loaded by the real pynvml.
 *
 *   board 0  an H100, all queries
 *   board 1  an H100 split by MIG: slices at places 0 and 2, utilisation only of the board
 *   board 2  an RTX 4090: no ECC, no MIG, no row remapping, no recovery action
 *
 * FAKE_NVML_BOARDS  how many of them there are (default 3)
 * FAKE_NVML_FAULTS  "function=code,function=code": these functions return the code instead, for every board;
 *                   "function@board=code" for one. nvmlInitWithFlags counts as a function.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };
enum { RECOVERY_ACTION_FIELD = 230, PLACES = 7 };

typedef struct { const char *uuid, *name; int board, is_slice; unsigned long long total, free; } device;
typedef struct { unsigned long long total, free, used; } memory;
typedef struct { unsigned gpu, memory; } rates;
typedef struct { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; } process;
typedef struct {
    unsigned field, scope;
    long long timestamp, latency;
    unsigned type;
    int result;
    union { double d; unsigned ui; unsigned long long ull; } value;
} field_value;

#define GIB (1024ULL * 1024 * 1024)
static device boards[] = {
    {"GPU-00000000-aaaa", "NVIDIA H100 80GB HBM3", 0, 0, 80 * GIB, 50 * GIB},
    {"GPU-11111111-bbbb", "NVIDIA H100 80GB HBM3", 1, 0, 80 * GIB, 80 * GIB},
    {"GPU-22222222-cccc", "NVIDIA GeForce RTX 4090", 2, 0, 24 * GIB, 23 * GIB},
};
static device slices[PLACES] = {
    {"MIG-11111111-0000", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", 1, 1, 10 * GIB, 9 * GIB},
    {0},
    {"MIG-11111111-2222", "NVIDIA H100 80GB HBM3 MIG 2g.20gb", 1, 1, 20 * GIB, 20 * GIB},
};
static process processes[] = {{4711, 29 * GIB, 0, 0}, {4712, 0, 0, 0}};

static int fault(const char *function, int board) {
    const char *faults = getenv("FAKE_NVML_FAULTS");
    char wanted[2][96];
    snprintf(wanted[0], sizeof wanted[0], "%s=", function);
    snprintf(wanted[1], sizeof wanted[1], "%s@%d=", function, board);
    for (int i = 0; faults && i < 2; i++) {
        const char *found = strstr(faults, wanted[i]);
        if (found && (found == faults || found[-1] == ',')) return atoi(found + strlen(wanted[i]));
    }
    return SUCCESS;
}

#define OR_FAULT(board) do { int code = fault(__func__, board); if (code) return code; } while (0)

int nvmlInitWithFlags(unsigned flags) { (void)flags; OR_FAULT(-1); return SUCCESS; }
int nvmlShutdown(void) { OR_FAULT(-1); return SUCCESS; }
const char *nvmlErrorString(int code) { (void)code; return "an error of the stand-in"; }

int nvmlDeviceGetCount_v2(unsigned *count) {
    OR_FAULT(-1);
    const char *wanted = getenv("FAKE_NVML_BOARDS");
    *count = wanted ? (unsigned)atoi(wanted) : 3;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, device **handle) {
    OR_FAULT((int)index);
    if (index >= 3) return INVALID_ARGUMENT;
    *handle = &boards[index];
    return SUCCESS;
}

int nvmlDeviceGetUUID(device *of, char *text, unsigned size) {
    OR_FAULT(of->board);
    snprintf(text, size, "%s", of->uuid);
    return SUCCESS;
}

int nvmlDeviceGetName(device *of, char *text, unsigned size) {
    OR_FAULT(of->board);
    snprintf(text, size, "%s", of->name);
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(device *of, memory *answer) {
    OR_FAULT(of->board);
    *answer = (memory){of->total, of->free, of->total - of->free};
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(device *of, rates *answer) {
    OR_FAULT(of->board);
    if (of->is_slice) return NOT_SUPPORTED;
    *answer = (rates){97, 40};
    return SUCCESS;
}

int nvmlDeviceGetTemperature(device *of, int sensor, unsigned *celsius) {
    OR_FAULT(of->board);
    if (of->is_slice || sensor != 0) return INVALID_ARGUMENT;
    *celsius = 61 + of->board;
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(device *of, unsigned *milliwatts) {
    OR_FAULT(of->board);
    if (of->is_slice) return INVALID_ARGUMENT;
    *milliwatts = 640500;
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(device *of, unsigned *count, process *answer) {
    OR_FAULT(of->board);
    unsigned size = *count;
    *count = of == &boards[0] ? 2 : 0;
    if (size < *count) return INSUFFICIENT_SIZE;
    memcpy(answer, processes, *count * sizeof(process));
    return SUCCESS;
}

int nvmlDeviceGetMigMode(device *of, unsigned *current, unsigned *pending) {
    OR_FAULT(of->board);
    if (of->board == 2) return NOT_SUPPORTED;
    *current = *pending = of->board == 1;
    return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(device *of, unsigned *count) {
    OR_FAULT(of->board);
    *count = PLACES;
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(device *of, unsigned place, device **handle) {
    OR_FAULT(of->board);
    if (place >= PLACES || !slices[place].uuid) return NOT_FOUND;
    *handle = &slices[place];
    return SUCCESS;
}

int nvmlDeviceGetTotalEccErrors(device *of, int kind, int counter, unsigned long long *count) {
    OR_FAULT(of->board);
    if (of->board == 2) return NOT_SUPPORTED;
    if (kind != 1 || counter != 0) return INVALID_ARGUMENT; /* uncorrected, volatile */
    *count = of->board;
    return SUCCESS;
}

int nvmlDeviceGetRemappedRows(device *of, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed) {
    OR_FAULT(of->board);
    if (of->board == 2) return NOT_SUPPORTED;
    *corrected = *uncorrected = *pending = 1;
    *failed = getenv("FAKE_NVML_REMAP_FAILED") != NULL;
    return SUCCESS;
}

int nvmlDeviceGetFieldValues(device *of, int count, field_value *values) {
    OR_FAULT(of->board);
    for (int i = 0; i < count; i++) {
        int is_known = of->board != 2 && values[i].field == RECOVERY_ACTION_FIELD;
        const char *action = getenv("FAKE_NVML_RECOVERY_ACTION");
        values[i].result = is_known ? SUCCESS : NOT_SUPPORTED;
        values[i].type = 1; /* unsigned int */
        values[i].value.ui = action ? (unsigned)atoi(action) : 0;
    }
    return SUCCESS;
}
