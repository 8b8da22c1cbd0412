import { parseResident, parseStat } from './procfs.ts'
import { findTree, listPids, readProc } from './readProc.ts'

const INTERVAL_MS = 250

export interface PeakWatch {
  /** Ends the watch, after a last look. The largest resident set that was seen, of all processes together. */
  stop(): number
}

/**
 * Watches the memory of processes and their descendants, four times a second. `roots` is asked each time: they may grow. Of
 * all other processes it reads only once whose children they are: it shares the machine with what it watches.
 */
export function watchPeakRss(roots: () => readonly number[]): PeakWatch {
  let peakBytes = 0
  let parents = new Map<number, number>()
  const look = () => {
    parents = readParents(parents)
    const sizes = findTree(roots(), parents).map((pid) => parseResident(readProc(pid, 'status') ?? ''))
    peakBytes = Math.max(
      peakBytes,
      sizes.reduce((total, size) => total + size, 0),
    )
  }
  look()
  const timer = setInterval(look, INTERVAL_MS)
  return {
    stop() {
      clearInterval(timer)
      look()
      return peakBytes
    },
  }
}

/** The parent of each process, from what is known and, for pids that are new, from /proc. */
function readParents(known: ReadonlyMap<number, number>): Map<number, number> {
  const parents = new Map<number, number>()
  for (const pid of listPids()) {
    const text = known.has(pid) ? undefined : readProc(pid, 'stat')
    const parent = known.get(pid) ?? (text === undefined ? undefined : parseStat(text).parentPid)
    if (parent !== undefined) parents.set(pid, parent)
  }
  return parents
}
