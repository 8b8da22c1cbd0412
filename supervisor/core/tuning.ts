/**
 * The numbers that decisions are made with and that no setting changes, each in one place: the simulator (npm run bench:sim) decides
 * with the same. What an operator can set is in config/settings.ts.
 */

// Orders of certificates
/** So many orders run at the same time: an account, a DNS record and its spreading each, on both sides. */
export const ORDERS_AT_ONCE = 4
/** An order that came to nothing is tried again after this, then after four times as long, at most after a day. */
export const ORDER_AGAIN_MS = 15 * 60_000
export const ORDER_AGAIN_AT_MOST_MS = 24 * 3_600_000

// Samples of CPU
/** Weight of the newest CPU sample in the moving average: a burst of one interval moves it by less than a third. */
export const SAMPLE_WEIGHT = 0.3
/** What was sampled longer ago decides nothing. */
export const SAMPLE_FRESH_MS = 180_000

// What a service costs
/**
 * Bytes that count for as much CPU of a worker as a small request. Only the weights within one worker depend on it. Measured on
 * a loopback tailnet of two cores, busy with other work, medians of four runs: 750 us a request, 11.3 s a GiB down and 14.4 s
 * up, so 70 and 56 KB a request; both directions count the same. To repeat it, as the test does that holds it to a factor of three:
 * `npm run build && npx vitest run --project e2e test/e2e/loads.test.ts`.
 */
export const BYTES_PER_REQUEST = 64 * 1024
/** What an idle node costs, in small requests a second: no service weighs nothing. */
export const IDLE_PER_SECOND = 0.2
/** Time after which an old rate counts for a third (1/e). As long as a few samples of CPU, which it is compared with. */
export const RATE_MEMORY_MS = 20_000

// Moves
/** So many services are between two workers at the same time, and one between any two shards. */
export const MOVES_AT_ONCE = 4
/** How long a move may wait for its turn, and how long its service may take to be ready once the old worker has let go of it. */
export const MOVE_QUEUE_TIMEOUT_MS = 120_000
export const MOVE_READY_TIMEOUT_MS = 60_000
/** A worker that comes above the limit sooner has too many services or too low a limit, which no other worker would mend. */
export const RIPE_MS = 3_600_000
/** So many services are told to move at a time: in between an operator's pause counts, and what is more urgent has its turn. */
export const REPLACED_AT_A_TIME = 5
/** A service that has just moved, or come back, is left alone for so long. */
export const REST_AFTER_MOVE_MS = 600_000

// Rebalancing
/**
 * A move has to be worth it: the busier of two shards gains at least so much by each, in points of a core (an exchange is two
 * moves). A hot shard may have nothing but small services to give.
 */
export const LEAST_GAIN = { level: 2, preferred: 0.5, 'last resort': 0.5 }
/** So many shards are tried as a target, coolest first. The first that takes something is as good as any that follow. */
export const TARGETS = 4
export const MOST_DECISIONS = 50

// Memory of workers
/** So many samples in a row must be above a limit. */
export const MEMORY_SAMPLES = 6
/** Two days: what goes up and down with the day has no slope then. */
export const MEMORY_HOURS = 48
/** Growth that doubles the memory within a day is told as soon as so many hours bear it out; slower growth, after a day. */
export const GROWTH_LEAST_HOURS = 12
export const GROWTH_DAY_HOURS = 24
export const GROWTH_LEAST_PART = 0.1
export const GROWTH_LEAST_BYTES = 32 * 2 ** 20
/** Of the pairs of hours, so many must rise: what swings has about as many that fall. */
export const GROWTH_LEAST_RISING = 0.8
/** The second half must rise by so much of what the first did: what fills up and then stays is no leak. */
export const GROWTH_LEAST_LASTING = 0.5

// Services that end their workers
/** Ends of workers so near to each other have one cause. What a death leads to is decided after that time. */
export const DEATHS_TOGETHER_MS = 2000
/** An end counts half after this time, and so much makes a set suspect: three within five minutes, or one every seven. */
export const DEATH_INTENSITY = { halfLifeMs: 10 * 60_000 }
export const SUSPECT_FROM = 2.5
/** A suspected shard whose worker has lived for so long is cleared: twice the pause between two ends that are still counted. */
export const CLEARED_AFTER_MS = 15 * 60_000
/** A set that is suspected is split at its next end. A service that is alone has to end its worker so often. */
export const QUARANTINE_FROM = 2
/** When more services than that seem to be culprits, it is something else. One that is alone and restarted harms nobody. */
export const MOST_QUARANTINED = 3
/** How long, and how many, ends are remembered. */
export const DEATH_MEMORY_MS = 3_600_000
export const MOST_DEATHS = 100
/** How long a dead worker's shard waits for what its death leads to: longer than that takes, unless the disk hangs. */
export const JUDGEMENT_MS = 5000
