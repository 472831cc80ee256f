//! The memory budget of loaded models, set or measured.

use std::process::Command;

use super::start_error::StartError;
use crate::models::memory_available;

/// The memory that loaded models may take together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Budget {
    pub(super) bytes: u64,
    /// Whether it was configured: only then does it also bind models with `load = "start"`.
    pub(super) strict: bool,
}

/// A source of the number of free bytes of memory.
pub(super) trait MemoryGauge {
    /// Free bytes of main memory; 0 where the system does not report them.
    fn machine(&self) -> u64;

    /// Free bytes of GPU memory, or why that is not known.
    fn gpu(&self) -> Result<u64, String>;
}

/// Measures this machine; its GPU through `nvidia-smi`.
pub(super) struct SystemGauge;

/// What a configuration requires of the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Needs {
    /// Whether the memory is the GPU's.
    pub(super) gpu: bool,
    /// Whether models are loaded and unloaded while the server runs.
    pub(super) swaps: bool,
}

impl Budget {
    /// The budget of `megabytes`; 0: what is free now.
    ///
    /// # Errors
    /// [`StartError::NoBudget`] where models are loaded on first use into memory that cannot be measured.
    pub(super) fn new(megabytes: u64, needs: Needs, gauge: &dyn MemoryGauge) -> Result<Self, StartError> {
        let measured = match (megabytes, needs.gpu) {
            (1.., _) => return Ok(Self { bytes: megabytes.saturating_mul(1_000_000), strict: true }),
            // 0 means that the system does not report it.
            (0, false) => Some(gauge.machine()).filter(|free| *free > 0),
            (0, true) => match gauge.gpu() {
                Ok(free) => Some(free),
                Err(why) if needs.swaps => return Err(StartError::NoBudget { why }),
                Err(why) => {
                    tracing::warn!(why, "the free memory of the GPU is not known; set memory_budget_mb");
                    None
                }
            },
        };
        Ok(Self { bytes: measured.unwrap_or(u64::MAX), strict: false })
    }
}

impl MemoryGauge for SystemGauge {
    fn machine(&self) -> u64 {
        memory_available()
    }

    fn gpu(&self) -> Result<u64, String> {
        let mut tool = Command::new("nvidia-smi");
        let said = tool.args(["--query-gpu=memory.free", "--format=csv,noheader,nounits"]).output();
        let said = said.map_err(|error| format!("nvidia-smi: {error}"))?;
        let text = String::from_utf8_lossy(&said.stdout);
        if !said.status.success() {
            return Err(format!("nvidia-smi ended with {}: {}", said.status, text.trim()));
        }
        least(&text).ok_or_else(|| format!("nvidia-smi said {:?}", text.trim()))
    }
}

/// The minimum over all GPUs, from one line of MiB for each: the engine chooses the GPU.
fn least(said: &str) -> Option<u64> {
    let free = said.lines().map(|line| line.trim().parse::<u64>()).collect::<Result<Vec<_>, _>>().ok()?;
    free.into_iter().min().map(|mebibytes| mebibytes.saturating_mul(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct FixedGauge(u64, Result<u64, &'static str>);

    impl MemoryGauge for FixedGauge {
        fn machine(&self) -> u64 {
            self.0
        }

        fn gpu(&self) -> Result<u64, String> {
            self.1.map_err(str::to_owned)
        }
    }

    #[test]
    fn a_gpus_models_are_held_to_the_gpus_memory() {
        let big_machine = FixedGauge(512_000_000_000, Ok(80_000_000_000));
        let budget = |gpu| Budget::new(0, Needs { gpu, swaps: true }, &big_machine).unwrap();
        assert_eq!(budget(true), Budget { bytes: 80_000_000_000, strict: false });
        assert_eq!(budget(false), Budget { bytes: 512_000_000_000, strict: false });
        let by_hand = Budget::new(7, Needs { gpu: true, swaps: true }, &FixedGauge(1, Err("never asked"))).unwrap();
        assert_eq!(by_hand, Budget { bytes: 7_000_000, strict: true });
    }

    #[test]
    fn without_a_way_to_measure_the_setting_is_asked_for() {
        let blind = FixedGauge(512_000_000_000, Err("nvidia-smi: not found"));
        let error = Budget::new(0, Needs { gpu: true, swaps: true }, &blind).unwrap_err().to_string();
        assert!(error.contains("memory_budget_mb") && error.contains("nvidia-smi: not found"), "{error}");
        let budget = Budget::new(0, Needs { gpu: true, swaps: false }, &blind).unwrap();
        assert_eq!(budget, Budget { bytes: u64::MAX, strict: false }, "one model that stays needs no budget");
        let silent = FixedGauge(0, Err("no"));
        assert_eq!(Budget::new(0, Needs { gpu: false, swaps: true }, &silent).unwrap().bytes, u64::MAX);
    }

    #[test]
    fn what_the_driver_says_is_read() {
        assert_eq!(least("81559\n"), Some(81_559 << 20));
        assert_eq!(least("81559\n 40960 \n"), Some(40_960 << 20));
        for nothing in ["", "[N/A]\n", "No devices were found\n", "100 MiB\n"] {
            assert_eq!(least(nothing), None, "{nothing:?}");
        }
    }
}
