/** The directories of a supervisor: which it refuses, and the record of its last run. */
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { unsafeDirectory } from '../../supervisor/core/privateDirectory.ts'
import { recordRun } from '../../supervisor/effects/lastRun.ts'
import { linkRunDirectory, prepareDirectories, UnusableDirectoryError } from '../../supervisor/effects/stateFile.ts'

let home: string
let stateDir: string
let runDir: string

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'dir-'))
  stateDir = join(home, 'state')
  runDir = join(home, 'run')
})
afterEach(() => rmSync(home, { recursive: true }))

describe('the directories of a supervisor', () => {
  it('are made private, whatever the umask', async () => {
    const umask = process.umask(0)
    await prepareDirectories(stateDir, runDir).finally(() => process.umask(umask))
    for (const path of [stateDir, join(stateDir, '.supervisor'), runDir]) expect(statSync(path).mode & 0o777).toBe(0o700)
  })

  it.each([0o777, 0o770, 0o772, 0o1777, 0o2775])('are refused with mode %o, with the command that mends it', async (mode) => {
    for (const [path, flag] of [
      [stateDir, '--state-dir'],
      [join(stateDir, '.supervisor'), '--state-dir'],
      [runDir, '--run-dir'],
    ] as const) {
      await prepareDirectories(stateDir, runDir)
      chmodSync(path, mode)
      const refused = prepareDirectories(stateDir, runDir)
      await expect(refused).rejects.toThrow(UnusableDirectoryError)
      await expect(refused).rejects.toThrow(`chmod go-w ${path}, or choose another ${flag}`)
      chmodSync(path, 0o700)
    }
    chmodSync(stateDir, 0o755)
    await prepareDirectories(stateDir, runDir)
  })

  it('are refused when they are another user’s, but for root’s', async (context) => {
    expect(unsafeDirectory('/s', { mode: 0o40755, uid: 0 }, { flag: '--state-dir', user: 1000 })).toBe('')
    expect(unsafeDirectory('/s', { mode: 0o40700, uid: 7 }, { flag: '--state-dir', user: 1000 })).toContain('chown -R 1000 /s')
    if (process.getuid?.() !== 0) context.skip('only root can give a directory away')
    mkdirSync(stateDir, { mode: 0o700 })
    chownSync(stateDir, 12345, 12345)
    await expect(prepareDirectories(stateDir, runDir)).rejects.toThrow(`${stateDir} belongs to another user (uid 12345)`)
  })
})

describe('the state directory leads to the sockets', () => {
  const link = () => join(stateDir, '.supervisor', 'run')

  it('wherever they are', async () => {
    for (const place of [runDir, `${runDir}2`]) {
      await prepareDirectories(stateDir, place)
      await linkRunDirectory(stateDir, place)
      await linkRunDirectory(stateDir, place)
      expect(readlinkSync(link())).toBe(place)
    }
  })

  it('also when that place is gone after a reboot, and they are in the state directory from now on', async () => {
    await prepareDirectories(stateDir, runDir)
    await linkRunDirectory(stateDir, runDir)
    rmSync(runDir, { recursive: true })
    await prepareDirectories(stateDir, link())
    await linkRunDirectory(stateDir, link())
    expect(lstatSync(link()).isDirectory()).toBe(true)
  })

  it('and keeps those of workers that are there from before', async () => {
    await prepareDirectories(stateDir, link())
    mkdirSync(join(link(), 'shard-1-x'))
    await prepareDirectories(stateDir, runDir)
    await linkRunDirectory(stateDir, runDir)
    expect(lstatSync(join(link(), 'shard-1-x')).isDirectory()).toBe(true)
  })
})

describe('the record of the last run', () => {
  const begin = () => recordRun(stateDir, { version: '1.2.3' })
  const file = () => join(stateDir, '.supervisor', 'last-run.json')
  beforeEach(() => prepareDirectories(stateDir, runDir))

  it('tells of an orderly end, of none, and of a machine that was started anew', async () => {
    const first = await begin()
    expect(first).toMatchObject({ before: '', wasOrderly: true })
    await first.end('as it was told to')
    const second = await begin()
    expect(second.wasOrderly).toBe(true)
    expect(second.before).toMatch(/^the last supervisor \(1\.2\.3, pid \d+, started \S+Z\) ended as it was told to at \S+Z$/)
    const third = await begin()
    expect(third.wasOrderly).toBe(false)
    expect(third.before).toContain('ended without a word: it was killed, or has crashed')
    writeFileSync(file(), readFileSync(file(), 'utf8').replace(/"bootId":"[^"]+"/, '"bootId":"another"'))
    expect((await begin()).before).toContain('ended with the machine, which has been started anew since')
  })

  it('is begun anew when it is damaged', async () => {
    writeFileSync(file(), '{"version": 1')
    expect(await begin()).toMatchObject({ before: '', wasOrderly: true })
    expect((await begin()).before).not.toBe('')
  })
})
