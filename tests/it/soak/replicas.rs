//! Two processes of the operator, started again when they end, as a cluster does.

use zoho_testkit::fault_proxy::FaultProxy;

use crate::support::eventually;
use crate::support::operator::Operator;
use crate::support::world::World;

/// Everything of our own, and what is worth a warning elsewhere: all of it is searched for secrets.
const ARGS: [&str; 3] =
    ["--leader-elect=true", "--log-filter", "warn,zoho_operator=trace,zoho_client=trace,zoho_core=trace"];

pub(super) struct Replicas {
    running: Vec<Replica>,
    restarts: usize,
}

struct Replica {
    operator: Operator,
    /// Until it was seen to lead its log is looked through for that.
    has_led: bool,
}

impl Replicas {
    pub(super) fn start(world: &World, proxy: &FaultProxy) -> Self {
        let mut replicas = Self { running: Vec::new(), restarts: 0 };
        for _ in 0..2 {
            replicas.running.push(Replica::start(world, proxy));
        }
        replicas
    }

    pub(super) fn restarts(&self) -> usize {
        self.restarts
    }

    /// Either of them.
    pub(super) fn any(&self) -> &Operator {
        &self.running[0].operator
    }

    /// Starts those again that have ended; says which and how.
    pub(super) fn restart_ended(&mut self, world: &World, proxy: &FaultProxy) -> Vec<String> {
        let mut ended = Vec::new();
        for replica in &mut self.running {
            if let Some(how) = replica.operator.has_ended() {
                let role = if replica.has_led { "the leader" } else { "the standby" };
                ended.push(format!("{role} (process {}) ended: {how}", replica.operator.pid()));
                *replica = Replica::start(world, proxy);
                self.restarts += 1;
            }
        }
        ended
    }

    /// Ends both, as in an orderly shutdown.
    pub(super) async fn end(&mut self) {
        for replica in &self.running {
            replica.operator.signal("TERM");
        }
        for replica in &mut self.running {
            eventually("it ends", async || replica.operator.has_ended()).await;
        }
    }

    /// A leader that is no longer one ends, so the process that has led and is there leads.
    fn leader(&mut self) -> Option<&Replica> {
        for replica in &mut self.running {
            replica.has_led = replica.has_led || replica.operator.leads();
        }
        self.running.iter().find(|replica| replica.has_led)
    }

    /// Does one of them lead, as far as was seen?
    pub(super) fn is_led(&self) -> bool {
        self.running.iter().any(|replica| replica.has_led)
    }

    /// Process and resident memory of the leader, in MiB.
    pub(super) fn memory_of_leader(&mut self) -> Option<(u32, f64)> {
        let leader = &self.leader()?.operator;
        Some((leader.pid(), leader.memory("VmRSS:")?))
    }

    /// Sends a signal to the leader, or to the one that stands by; returns the process.
    pub(super) fn signal(&mut self, to_leader: bool, name: &str) -> Option<u32> {
        let leader = self.leader().map(|replica| replica.operator.pid());
        let is_meant = |replica: &&Replica| (Some(replica.operator.pid()) == leader) == to_leader;
        let operator = &self.running.iter().find(is_meant)?.operator;
        operator.signal(name);
        Some(operator.pid())
    }

    /// Lets a stopped process go on, if it is still there.
    pub(super) fn go_on(&self, pid: Option<u32>) {
        if let Some(replica) = self.running.iter().find(|replica| Some(replica.operator.pid()) == pid) {
            replica.operator.signal("CONT");
        }
    }
}

impl Replica {
    fn start(world: &World, proxy: &FaultProxy) -> Self {
        Self { operator: world.operator_behind(proxy, &ARGS), has_led: false }
    }
}
