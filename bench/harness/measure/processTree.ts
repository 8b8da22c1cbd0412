/**
 * CPU, memory, threads and context switches of processes with all their descendants. What ends in the middle of a sample is
 * left out of it.
 */
import { type Memory, type Stat, type Switches, parseResident, parseRollup, parseStat, parseSwitches } from './procfs.ts'
import { findTree, listPids, listThreads, readProc } from './readProc.ts'

interface ProcessSample extends Stat {
  rssBytes: number
  /** By thread id. */
  threads: ReadonlyMap<number, Switches>
}

/** A moment of a tree: totals, and the processes that they are made of. Zombies are members, but count as no process. */
export interface TreeSample {
  /** performance.now(). */
  atMs: number
  /** Since each process started, children that have ended included: each second counts once. */
  cpuSeconds: number
  /** As the kernel keeps count of it: cheap, but pages shared by several processes count several times. */
  rssBytes: number
  processes: number
  threads: number
  /** Of the threads that there are; those that have ended took theirs with them. */
  voluntarySwitches: number
  involuntarySwitches: number
  members: readonly ProcessSample[]
}

/** What happened between two samples of a tree. */
export interface TreeDifference {
  seconds: number
  cpuSeconds: number
  voluntarySwitches: number
  involuntarySwitches: number
}

/** Samples the roots and all their descendants. A root may be below another one. */
export function sampleTree(roots: readonly number[]): TreeSample {
  const atMs = performance.now()
  const members = readTree(roots).map(sampleProcess)
  const switches = members.flatMap(({ threads }) => [...threads.values()])
  return {
    atMs,
    cpuSeconds: sum(members.map(accountedSeconds)),
    rssBytes: sum(members.map(({ rssBytes }) => rssBytes)),
    processes: members.filter(({ zombie }) => !zombie).length,
    threads: switches.length,
    voluntarySwitches: sum(switches.map(({ voluntary }) => voluntary)),
    involuntarySwitches: sum(switches.map(({ involuntary }) => involuntary)),
    members,
  }
}

/**
 * Memory of the roots and all their descendants. The kernel walks all their pages for it, which costs CPU and holds up the
 * processes: not to be done while CPU is measured. Throws when it may not be read (another user's processes).
 */
export function sampleMemory(roots: readonly number[]): Memory {
  const rollups = readTree(roots).map(({ pid }) => parseRollup(readProc(pid, 'smaps_rollup') ?? ''))
  return { pssBytes: sum(rollups.map(({ pssBytes }) => pssBytes)), rssBytes: sum(rollups.map(({ rssBytes }) => rssBytes)) }
}

/**
 * What happened between two samples. A process that came counts from its start. The CPU time of one that went is in its
 * parent's account of children, from which is taken what it had used before; with no parent in the tree left to account for
 * it, what it used since `before` is unknown and counts as nothing. So do the switches of threads that went.
 */
export function difference(before: TreeSample, after: TreeSample): TreeDifference {
  const earlier = new Map(before.members.map((member) => [identity(member), member]))
  const later = new Set(after.members.map(identity))
  const byPid = new Map(before.members.map((member) => [member.pid, member]))
  const isAccounted = (member: ProcessSample): boolean => {
    const parent = byPid.get(member.parentPid)
    return later.has(identity(member)) || (parent !== undefined && isAccounted(parent))
  }
  const switches = after.members.flatMap((member) => {
    const known = earlier.get(identity(member))?.threads
    return [...member.threads].map(([tid, now]) => switchesSince(known?.get(tid), now))
  })
  return {
    seconds: (after.atMs - before.atMs) / 1000,
    // Never negative, though a child that was waited for between two reads of the first sample is in it twice.
    cpuSeconds: Math.max(0, after.cpuSeconds - sum(before.members.filter(isAccounted).map(accountedSeconds))),
    voluntarySwitches: sum(switches.map(({ voluntary }) => voluntary)),
    involuntarySwitches: sum(switches.map(({ involuntary }) => involuntary)),
  }
}

/** Pid and start time: a pid alone may have been given to another process in between. */
function identity({ pid, startTicks }: Stat): string {
  return `${pid} ${startTicks}`
}

/** The time of a process that has been waited for moves from its own account into its parent's, so these add up. */
function accountedSeconds({ cpuSeconds, reapedSeconds }: Stat): number {
  return cpuSeconds + reapedSeconds
}

function switchesSince(before: Switches | undefined, now: Switches): Switches {
  // Fewer than before: another thread has been given the id of one that ended.
  if (!before || now.voluntary < before.voluntary || now.involuntary < before.involuntary) return now
  return { voluntary: now.voluntary - before.voluntary, involuntary: now.involuntary - before.involuntary }
}

function readTree(roots: readonly number[]): Stat[] {
  // In the order of pids, and so mostly parents first: a child that ends meanwhile is missed rather than counted twice.
  const stats = listPids().flatMap((pid) => {
    const text = readProc(pid, 'stat')
    return text === undefined ? [] : parseStat(text)
  })
  const tree = new Set(findTree(roots, new Map(stats.map(({ pid, parentPid }) => [pid, parentPid]))))
  return stats.filter(({ pid }) => tree.has(pid))
}

function sampleProcess(stat: Stat): ProcessSample {
  const threads = stat.zombie ? [] : listThreads(stat.pid)
  return {
    ...stat,
    rssBytes: parseResident(readProc(stat.pid, 'status') ?? ''),
    threads: new Map(
      threads.flatMap((tid): [number, Switches][] => {
        const text = readProc(stat.pid, `task/${tid}/status`)
        return text === undefined ? [] : [[tid, parseSwitches(text)]]
      }),
    ),
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0)
}
