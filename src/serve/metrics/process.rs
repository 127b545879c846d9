//! The usual metrics of a process, from `/proc/self`. What cannot be read is left out, and elsewhere than on Linux there are
//! none.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

/// Reads anew at each scrape.
#[derive(Debug)]
pub(super) struct Process;

#[cfg(not(target_os = "linux"))]
impl Collector for Process {
    fn encode(&self, _: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        Ok(())
    }
}

#[cfg(target_os = "linux")]
impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        use prometheus_client::encoding::NoLabelSet;
        use prometheus_client::metrics::MetricType;

        let measured = measured::Measured::now();
        for (name, help, value) in measured.gauges {
            if let Some(value) = value {
                encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)?;
            }
        }
        if let Some(cpu) = measured.cpu {
            let help = "Time that the process had on processors";
            let mut metric = encoder.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?;
            metric.encode_counter::<NoLabelSet, f64, f64>(&cpu.as_secs_f64(), None)?;
        }
        Ok(())
    }
}

#[cfg(target_os = "linux")]
mod measured {
    use std::time::Duration;

    use procfs::process::{LimitValue, Process};

    type Gauge = (&'static str, &'static str, Option<f64>);

    /// What is exported, in seconds and bytes.
    pub(super) struct Measured {
        pub(super) gauges: [Gauge; 6],
        pub(super) cpu: Option<Duration>,
    }

    impl Measured {
        pub(super) fn now() -> Self {
            let process = Process::myself().ok();
            let stat = process.as_ref().and_then(|process| process.stat().ok());
            let limits = process.as_ref().and_then(|process| process.limits().ok());
            let open = process.as_ref().and_then(|process| process.fd_count().ok());
            let most = limits.and_then(|limits| match limits.max_open_files.soft_limit {
                LimitValue::Value(most) => Some(most),
                LimitValue::Unlimited => None,
            });
            let booted_at = procfs::boot_time_secs().ok().map(Duration::from_secs);
            let started_at = stat.as_ref().zip(booted_at).map(|(stat, at)| at + ticks(stat.starttime));
            let stat = stat.as_ref();
            Self {
                gauges: [
                    ("process_start_time_seconds", "When the process started", started_at.map(|at| at.as_secs_f64())),
                    (
                        "process_resident_memory_bytes",
                        "Memory that the process has in use",
                        stat.and_then(|stat| float(stat.rss * procfs::page_size())),
                    ),
                    ("process_virtual_memory_bytes", "Memory that is mapped", stat.and_then(|stat| float(stat.vsize))),
                    ("process_threads", "Threads of the process", stat.and_then(|stat| float(stat.num_threads))),
                    ("process_open_fds", "Open file descriptors", open.and_then(float)),
                    ("process_max_fds", "Most file descriptors that may be open", most.and_then(float)),
                ],
                cpu: stat.map(|stat| ticks(stat.utime + stat.stime)),
            }
        }
    }

    /// Clock ticks as a span.
    fn ticks(count: u64) -> Duration {
        Duration::from_millis(count.saturating_mul(1000) / procfs::ticks_per_second().max(1))
    }

    /// A count as Prometheus has it.
    #[expect(clippy::cast_precision_loss, reason = "nothing here has more than 52 bits")]
    fn float(count: impl TryInto<u64>) -> Option<f64> {
        count.try_into().ok().map(|count: u64| count as f64)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn counts_and_ticks_become_numbers() {
            assert_eq!(float(-1_i64), None);
            assert_eq!(float(1_048_576_u64), Some(1_048_576.0));
            assert_eq!(ticks(procfs::ticks_per_second() * 3 / 2), Duration::from_millis(1500));
        }

        #[test]
        fn everything_is_measured_of_a_running_process() {
            let measured = Measured::now();
            for (name, _, value) in measured.gauges {
                assert!(value.is_some_and(|value| value > 0.0) || name == "process_max_fds", "{name}: {value:?}");
            }
            assert!(measured.cpu.is_some());
        }
    }
}
