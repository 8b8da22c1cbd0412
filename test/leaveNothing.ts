/**
 * Set-up of tests that start processes: a file of tests must leave no process and no file behind.
 *
 * Each test file gets a directory of its own as TMPDIR and its path as TSNSRV_TEST_RUN, both inherited by all that it
 * starts. A process that still names the directory in its environment or its arguments at the end is a leak, and so is a file
 * in it. Leaks fail the file and are then removed, so that one does not disturb the next.
 */
import { mkdtempSync } from 'node:fs'
import { readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, expect, vi } from 'vitest'

// Short, because Unix socket paths end at 107 bytes and tests put theirs deep below it.
const directory = mkdtempSync('/tmp/ts-')
process.env.TMPDIR = directory
process.env.TSNSRV_TEST_RUN = directory
// Its cache would be the only file that a well-behaved test leaves.
process.env.TSX_DISABLE_CACHE = '1'

// Registered first, so it runs last: after the file's own clean-up.
afterAll(async () => {
  try {
    await vi.waitFor(
      async () => {
        expect(await startedProcesses(), 'processes that the tests of this file left behind').toEqual([])
      },
      { timeout: 5000 },
    )
    expect(await readdir(directory), `files that the tests of this file left in TMPDIR (${directory})`).toEqual([])
  } finally {
    for (const { pid } of await startedProcesses()) process.kill(pid, 'SIGKILL')
    await rm(directory, { recursive: true, force: true })
  }
})

/** Living processes that were started, directly or not, by the tests of this file. */
async function startedProcesses(): Promise<{ pid: number; command: string }[]> {
  const pids = (await readdir('/proc')).map(Number).filter((pid) => pid > 0 && pid !== process.pid)
  const found = await Promise.all(
    pids.map(async (pid) => {
      const [environment, command] = await Promise.all(
        ['environ', 'cmdline'].map((file) => readFile(join('/proc', String(pid), file), 'utf8').catch(() => '')),
      )
      const ours = `${environment ?? ''}\0${command ?? ''}`.includes(directory)
      return ours ? [{ pid, command: (command ?? '').replaceAll('\0', ' ').trim() }] : []
    }),
  )
  return found.flat()
}
