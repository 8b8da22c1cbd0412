/**
 * Reading /proc, synchronously: what is read together should be one moment, and /proc answers from memory. Undefined, and
 * not an error, is what has ended before or while it was read.
 */
import { readFileSync, readdirSync } from 'node:fs'

/** The text of /proc/<pid>/<file>. Throws when it may not be read. */
export function readProc(pid: number, file: string): string | undefined {
  return unlessGone(() => readFileSync(`/proc/${pid}/${file}`, 'utf8'))
}

/** All pids, in ascending order. */
export function listPids(): number[] {
  return numbersIn('/proc')
}

/** Ids of a process's threads. */
export function listThreads(pid: number): number[] {
  return unlessGone(() => numbersIn(`/proc/${pid}/task`)) ?? []
}

/** Those of `roots` that there are, and all that descend from them. A root may be below another one. `parents`: of each pid. */
export function findTree(roots: readonly number[], parents: ReadonlyMap<number, number>): number[] {
  const children = new Map<number, number[]>()
  for (const [pid, parent] of parents) {
    const siblings = children.get(parent)
    if (siblings) siblings.push(pid)
    else children.set(parent, [pid])
  }
  const found = new Set<number>()
  const visit = (pid: number): void => {
    if (found.has(pid)) return
    found.add(pid)
    children.get(pid)?.forEach(visit)
  }
  roots.filter((root) => parents.has(root)).forEach(visit)
  return [...found]
}

function numbersIn(directory: string): number[] {
  return readdirSync(directory)
    .map(Number)
    .filter((number) => number > 0)
    .sort((a, b) => a - b)
}

function unlessGone<T>(look: () => T): T | undefined {
  try {
    return look()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ESRCH') return undefined
    throw error
  }
}
