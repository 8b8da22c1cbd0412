/** What the benchmark reads of /proc: texts to plain values, see proc(5). Pure. */

/** USER_HZ, in which the kernel counts CPU time towards programs. 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100

/** Of /proc/<pid>/stat. */
export interface Stat {
  pid: number
  parentPid: number
  command: string
  /** Has ended and waits for its parent to ask how. */
  zombie: boolean
  /** When it started, in ticks since boot: with the pid it names a process for good. */
  startTicks: number
  /** Its own, of all its threads. */
  cpuSeconds: number
  /** Of its children that have ended and been waited for, and of theirs. */
  reapedSeconds: number
}

/** How often a thread gave up its CPU. */
export interface Switches {
  /** To wait for something: each is followed by a wake-up. */
  voluntary: number
  /** Because somebody else's turn had come. */
  involuntary: number
}

/** Of /proc/<pid>/smaps_rollup. */
export interface Memory {
  /** Proportional set size: a page that several processes share counts by its share. */
  pssBytes: number
  rssBytes: number
}

/** The machine's, since boot. */
export interface MachineTime {
  /** Of all cores together, in which something ran or was to run. */
  busySeconds: number
  /** The part in which something here was to run, and the hypervisor ran others. */
  stolenSeconds: number
}

/** /proc/<pid>/stat. */
export function parseStat(text: string): Stat {
  // The second field is the command in parentheses and may contain anything, so fields are counted from its end.
  const end = text.lastIndexOf(')')
  const fields = text.slice(end + 2).split(' ')
  const field = (number: number) => Number(fields[number - 3])
  return {
    pid: Number.parseInt(text, 10),
    parentPid: field(4),
    command: text.slice(text.indexOf('(') + 1, end),
    zombie: fields[0] === 'Z' || fields[0] === 'X',
    startTicks: field(22),
    cpuSeconds: (field(14) + field(15)) / TICKS_PER_SECOND,
    reapedSeconds: (field(16) + field(17)) / TICKS_PER_SECOND,
  }
}

/** /proc/<pid>/task/<tid>/status. The one of a process, /proc/<pid>/status, covers its main thread only. */
export function parseSwitches(text: string): Switches {
  return {
    voluntary: number(text, /^voluntary_ctxt_switches:\s+(\d+)$/m),
    involuntary: number(text, /^nonvoluntary_ctxt_switches:\s+(\d+)$/m),
  }
}

/** Resident set of /proc/<pid>/status in bytes; 0 for what has no memory of its own. */
export function parseResident(text: string): number {
  return number(text, /^VmRSS:\s+(\d+) kB$/m) * 1024
}

/** /proc/<pid>/smaps_rollup; nothing at all for what has no memory of its own. */
export function parseRollup(text: string): Memory {
  return { pssBytes: number(text, /^Pss:\s+(\d+) kB$/m) * 1024, rssBytes: number(text, /^Rss:\s+(\d+) kB$/m) * 1024 }
}

/** The first line of /proc/stat: "cpu  user nice system idle iowait irq softirq steal guest guest_nice"; guests are in user. */
export function parseMachineTime(text: string): MachineTime {
  const ticks = (/^cpu +(.*)$/m.exec(text)?.[1] ?? '').split(' ').slice(0, 8).map(Number)
  const [, , , idle = 0, waiting = 0, , , stolen = 0] = ticks
  const busy = ticks.reduce((sum, each) => sum + each, 0) - idle - waiting
  return { busySeconds: busy / TICKS_PER_SECOND, stolenSeconds: stolen / TICKS_PER_SECOND }
}

function number(text: string, pattern: RegExp): number {
  return Number(pattern.exec(text)?.[1] ?? 0)
}
