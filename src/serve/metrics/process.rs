//! The usual metrics of a process, from `/proc/self`. What cannot be read is left out, as it is where there is no `/proc`.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Reads anew at each scrape.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut gauge = |name: &str, help: &str, value: Option<f64>| match value {
            Some(value) => encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value),
            None => Ok(()),
        };
        let stat = fs::read_to_string("/proc/self/stat").ok().and_then(|text| Stat::parse(&text));
        let system = fs::read_to_string("/proc/stat").unwrap_or_default();
        let booted_at = system.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
        let started_at = stat.as_ref().zip(booted_at).map(|(stat, booted_at)| booted_at + stat.started);
        gauge("process_start_time_seconds", "When the process started", started_at)?;
        let memory = stat.as_ref().map(|stat| stat.resident);
        gauge("process_resident_memory_bytes", "Memory that the process has in use", memory)?;
        gauge("process_virtual_memory_bytes", "Memory that is mapped", stat.as_ref().map(|stat| stat.virtual_memory))?;
        gauge("process_threads", "Threads of the process", stat.as_ref().map(|stat| stat.threads))?;
        // A large number of them is below any limit of a float's precision.
        let open = fs::read_dir("/proc/self/fd").ok().and_then(|folder| u32::try_from(folder.count()).ok());
        gauge("process_open_fds", "Open file descriptors", open.map(f64::from))?;
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        gauge("process_max_fds", "Most file descriptors that may be open", most_open_files(&limits))?;
        if let Some(Stat { cpu, .. }) = stat {
            let help = "Time that the process had on processors";
            let mut metric = encoder.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?;
            metric.encode_counter::<NoLabelSet, f64, f64>(&cpu, None)?;
        }
        Ok(())
    }
}

/// Parts of `/proc/self/stat`; see `proc_pid_stat(5)`. Times in seconds, sizes in bytes.
#[derive(Debug, PartialEq)]
struct Stat {
    cpu: f64,
    threads: f64,
    started: f64,
    virtual_memory: f64,
    resident: f64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        let (ticks, page) = units()?;
        // The program's name, in parentheses, may hold anything.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        // The first after the name is number 3.
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu: (field(14)? + field(15)?) / ticks,
            threads: field(20)?,
            started: field(22)? / ticks,
            virtual_memory: field(23)?,
            resident: field(24)? * page,
        })
    }
}

/// Clock ticks a second, bytes a page.
fn units() -> Option<(f64, f64)> {
    let ticks = u32::try_from(rustix::param::clock_ticks_per_second()).ok()?;
    let page = u32::try_from(rustix::param::page_size()).ok()?;
    Some((f64::from(ticks), f64::from(page)))
}

fn most_open_files(limits: &str) -> Option<f64> {
    limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_from_behind_the_name() {
        let text = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 12345 1000000 200 18446744073709551615";
        let stat = Stat::parse(text).unwrap();
        let (ticks, page) = units().unwrap();
        let expected = Stat {
            cpu: 300.0 / ticks,
            threads: 9.0,
            started: 12345.0 / ticks,
            virtual_memory: 1_000_000.0,
            resident: 200.0 * page,
        };
        assert_eq!(stat, expected);
        assert_eq!(Stat::parse("7 (a"), None);
    }

    #[test]
    fn limit_of_open_files_is_the_soft_one() {
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files\n";
        assert_eq!(most_open_files(limits), Some(1024.0));
        assert_eq!(most_open_files("Max open files unlimited unlimited files"), None);
    }
}
