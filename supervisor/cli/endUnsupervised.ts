import { stat } from 'node:fs/promises'
import { LockedError, lockStateDir } from '../effects/lock.ts'
import { endOrphans } from '../effects/orphans.ts'
import { ownDirectory, UnusableDirectoryError } from '../effects/stateFile.ts'
import { findWorkerBinary, readSocketOwner } from '../effects/workerBinary.ts'
import type { EndedOrphan } from '../core/types.ts'
import { type Directories, nodesIn } from './clientCommand.ts'

/** The default of `supervisor.drainTimeout`: the command needs no configuration. */
const DRAIN_MS = 10_000

/**
 * Ends all workers of a state directory that has no supervisor. It holds the supervisor's lock, so that none starts meanwhile. Rejects
 * when a supervisor runs, and with an UnusableDirectoryError when it is not known whose workers they are.
 */
export async function endUnsupervised(directories: Directories): Promise<EndedOrphan[]> {
  const { stateDir, runDir, belongTogether } = directories
  if (!belongTogether) {
    throw new UnusableDirectoryError(`${runDir} may be of any state directory: say which with --state-dir or --config`)
  }
  if (!(await stat(ownDirectory(stateDir)).catch(() => null))) return []
  const lock = await lockStateDir(stateDir, (name) => readSocketOwner(findWorkerBinary(''), name)).catch((error: unknown) => {
    if (!(error instanceof LockedError)) throw error
    throw new Error(
      `a supervisor runs on ${stateDir}, and does not answer in ${runDir}: name the --run-dir that it was started with`,
    )
  })
  try {
    return await endOrphans({ runDir, nodes: await nodesIn(directories), followed: new Set() }, DRAIN_MS)
  } finally {
    await lock.release()
  }
}
