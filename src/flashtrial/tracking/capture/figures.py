"""The names of the system figures, fixed, each with its unit; what they mean stands beside them.

A test holds ``docs/reference-system-metrics.md`` equal to this.
"""

from typing import Final

SYSTEM_FIGURES: Final = {
    "sys/cpu.utilization_percent": "busy share of the CPUs that may be used: the container's quota, else all; 0 to 100",
    "sys/cpu.usable_count": "CPUs that may be used: the container's quota or the process's affinity; maybe a fraction",
    "sys/cpu.load_1m_count": "processes that ran or waited to run, average of one minute, of the whole machine",
    "sys/memory.used_bytes": "memory in use but for caches that can be dropped: the container's, else the machine's",
    "sys/memory.total_bytes": "memory that may be used: the container's limit, else the machine's",
    "sys/memory.utilization_percent": "used share of the memory that may be used",
    "sys/swap.used_bytes": "swap in use on the whole machine",
    "sys/disk.used_bytes": "bytes in use on the file system of the working directory",
    "sys/disk.total_bytes": "size of the file system of the working directory",
    "sys/disk.utilization_percent": "used share of what is not reserved for root there",
    "sys/disk.read_bytes_per_second": "bytes read from all disks of the machine since the last sample",
    "sys/disk.written_bytes_per_second": "bytes written to all disks of the machine since the last sample",
    "sys/network.received_bytes_per_second": "bytes received by all interfaces but the loopback since the last sample",
    "sys/network.sent_bytes_per_second": "bytes sent by all interfaces but the loopback since the last sample",
    "sys/process.cpu_percent": "CPU time of this process since the last sample; 100 is one CPU, all of the time",
    "sys/process.rss_bytes": "memory of this process that is resident",
    "sys/process.threads_count": "threads of this process",
    "sys/process.descriptors_count": "files, sockets and pipes that this process has open",
    "sys/process.children_count": "living descendants of this process, data loaders say",
    "sys/process.children_rss_bytes": "resident memory of those; pages that they share with each other count each time",
}

GPU_FIGURES: Final = {
    "sys/gpu.{index}.utilization_percent": "share of the driver's last sample period in which a kernel ran; 0 to 100",
    "sys/gpu.{index}.memory_used_bytes": "memory in use on the device, by whomever",
    "sys/gpu.{index}.memory_total_bytes": "memory of the device",
    "sys/gpu.{index}.temperature_celsius": "temperature of the board",
    "sys/gpu.{index}.power_watts": "power that the board draws",
    "sys/gpu.{index}.ecc_uncorrected_count": "uncorrected memory errors since the driver was loaded",
    "sys/gpu.{index}.process_memory_bytes": "memory that this process and its descendants hold, contexts included",
}
