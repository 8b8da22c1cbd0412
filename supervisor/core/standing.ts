/** Whether a worker that another supervisor has started still lives. It is judged by its pid and by its socket. Pure. */

/**
 * What the system shows of a worker's process.
 *
 * - `same`: the process runs
 * - `other`: the process has ended, and another one has its pid now
 * - `none`: no process has the pid, or only a zombie
 * - `hidden`: a process has the pid, and the host does not show which one (hidepid, another user namespace)
 */
export type ProcessSign = 'same' | 'other' | 'none' | 'hidden'

/** What the system tells of the process that has the pid now. */
export interface ProcessLook {
  /** The worker's record is of this boot of the machine. */
  readonly isSameBoot: boolean
  /** A process has the pid: kill(pid, 0) succeeds, or fails with EPERM. No setting of /proc changes that. */
  readonly isReached: boolean
  /** /proc/<pid>/stat; null when it cannot be read. */
  readonly stat: { readonly startTicks: number; readonly isZombie: boolean } | null
}

/** What the system shows of the worker's process, which was started at this tick. */
export function signOf({ isSameBoot, isReached, stat }: ProcessLook, startTicks: number): ProcessSign {
  if (!isSameBoot || !isReached) return 'none'
  if (stat === null) return 'hidden'
  if (stat.startTicks !== startTicks) return 'other'
  return stat.isZombie ? 'none' : 'same'
}

/**
 * What connecting to a worker's socket shows.
 *
 * - `accepts`: a process listens, although it may never answer
 * - `refuses`: the socket exists and no process listens
 * - `absent`: the socket does not exist
 * - `unknown`: anything else, such as a lack of permission
 */
export type SocketSign = 'accepts' | 'refuses' | 'absent' | 'unknown'

/** An `unknown` worker may be alive, so its files must stay. */
export type Standing = 'alive' | 'gone' | 'unknown'

/**
 * Whether the worker lives. `process` is null when there is no readable record of it: a worker that has just been started has neither
 * a record nor a socket, so it cannot count as gone.
 *
 * A worker is gone only if both signs say so. A socket that accepts proves that the worker lives, whatever the host shows of
 * processes, as only this worker listens in its directory. A socket that refuses or is absent proves nothing while a process has the
 * pid: a worker has no socket while it starts, and while it ends.
 */
export function judge(process: ProcessSign | null, socket: SocketSign): Standing {
  if (socket === 'accepts' || process === 'same') return 'alive'
  if (process === null || process === 'hidden' || socket === 'unknown') return 'unknown'
  return 'gone'
}

/**
 * Whether it is certain that the process with the pid is the worker, so that it may get a signal. `holdsNode`: the kernel names the
 * pid as the holder of a node's lock. Only workers take these locks.
 */
export function maySignal(process: ProcessSign, holdsNode: boolean): boolean {
  return process === 'same' || (process === 'hidden' && holdsNode)
}
