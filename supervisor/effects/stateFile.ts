/**
 * What must survive the supervisor: placement, the journal of moves, orders of certificates, what rebalancing remembers, and culprits.
 * Written to a temporary name, fsynced and renamed; a damaged file is moved aside with a warning, and the truth is then what
 * the living workers say.
 */
import { constants } from 'node:fs'
import { access, mkdir, readFile, readlink, rmdir, stat, symlink, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import * as z from 'zod'
import { inWords } from '../../shared/systemErrors.ts'
import { unsafeDirectory } from '../core/privateDirectory.ts'
import type { Remembered } from '../core/types.ts'
import { setAside, writeAtomically } from './atomicFile.ts'
import { parseState, serializeState } from './stateSchema.ts'

/** Where the supervisor keeps its own things: no service can be called that, a name has no dots. */
export const ownDirectory = (stateDir: string): string => join(stateDir, '.supervisor')
export const stateFilePath = (stateDir: string): string => join(ownDirectory(stateDir), 'state.json')
/** Where sockets are unless the settings name another place; then it is a link to that place. */
const runDirectoryIn = (stateDir: string): string => join(ownDirectory(stateDir), 'run')
export const logDirectory = (stateDir: string): string => join(ownDirectory(stateDir), 'logs')

/** A state file that cannot be used, and why. */
export class StateFileError extends Error {
  override readonly name = 'StateFileError'
}

/** A directory of the supervisor that it cannot use: a matter of how it was called, and not of what it found. */
export class UnusableDirectoryError extends Error {
  override readonly name = 'UnusableDirectoryError'
}

/** What was last written; null when nothing was. Throws StateFileError when the file is there but cannot be read or is damaged. */
export async function readStateFile(stateDir: string): Promise<Remembered | null> {
  const path = stateFilePath(stateDir)
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw new StateFileError(`cannot read ${path}: ${inWords(error)}`)
  }
  try {
    return parseState(JSON.parse(text))
  } catch (error) {
    throw new StateFileError(`${path} is damaged: ${error instanceof z.ZodError ? z.prettifyError(error) : inWords(error)}`)
  }
}

/** Moves a damaged state file aside, under a name that tells when. Returns the new path. */
export function setStateFileAside(stateDir: string, now: Date): Promise<string> {
  return setAside(stateFilePath(stateDir), now)
}

/** Writes it so that after a crash at any moment either the old or the new file is there, whole. */
export async function writeStateFile(stateDir: string, state: Remembered): Promise<void> {
  const path = stateFilePath(stateDir)
  await writeAtomically(path, serializeState(state)).catch((error: unknown) => {
    throw new StateFileError(`cannot write ${path}: ${inWords(error)}; what was written before is still there`)
  })
}

/**
 * Makes the directories of the supervisor, 0700, and checks that it can write in them and that nobody else can. Throws
 * UnusableDirectoryError.
 */
export async function prepareDirectories(stateDir: string, runDir: string): Promise<void> {
  await removeDeadLink(runDirectoryIn(stateDir))
  for (const directory of [stateDir, ownDirectory(stateDir), logDirectory(stateDir), runDir]) {
    const flag = directory === runDir ? '--run-dir' : '--state-dir'
    let problem: string
    try {
      await mkdir(directory, { recursive: true, mode: 0o700 })
      await access(directory, constants.R_OK | constants.W_OK | constants.X_OK)
      problem = unsafeDirectory(directory, await stat(directory), { flag, user: process.geteuid?.() })
    } catch (error) {
      problem = `${directory}: ${inWords(error)}. Choose another ${flag}, or give this user access`
    }
    if (problem !== '') throw new UnusableDirectoryError(`cannot use ${problem}`)
  }
}

/**
 * Lets the state directory lead to the sockets, so that commands which know it alone find them. Sockets of workers that an earlier
 * supervisor has left in the state directory stay. Call it under the lock.
 */
export async function linkRunDirectory(stateDir: string, runDir: string): Promise<void> {
  const link = runDirectoryIn(stateDir)
  if (runDir === link) return
  const target = await readlink(link).catch(() => undefined)
  if (target === runDir) return
  await (target === undefined ? rmdir(link) : unlink(link)).catch(() => undefined)
  await symlink(runDir, link).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  })
}

/** After a reboot what it led to is gone, and no directory can be made in its place. */
async function removeDeadLink(path: string): Promise<void> {
  const isLink = (await readlink(path).catch(() => undefined)) !== undefined
  if (isLink && (await stat(path).catch(() => undefined)) === undefined) await unlink(path)
}
