/** The lock of a state directory, taken by real processes: by one at a time, and free as soon as its holder has ended. */
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { LockedError, lockStateDir } from '../../supervisor/effects/lock.ts'
import type { OwnerOf } from '../../supervisor/effects/legacyLock.ts'

let stateDir: string
const children: ChildProcess[] = []

beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'lk-'))
  mkdirSync(join(stateDir, '.supervisor'), { mode: 0o700 })
})

afterEach(async () => {
  const exits = children.filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null)
  const ended = exits.map((child) => once(child, 'exit'))
  for (const child of exits) child.kill('SIGKILL')
  await Promise.all(ended)
  children.length = 0
  rmSync(stateDir, { recursive: true })
})

const me = process.geteuid?.() ?? 0
/** A process that has the lock of version 0.1 belongs to this user, unless a test says otherwise. */
const mine: OwnerOf = () => Promise.resolve(me)
const lock = (ownerOf = mine) => lockStateDir(stateDir, ownerOf)
const files = () => readdirSync(join(stateDir, '.supervisor'))

/** With this answer the lock of version 0.1 does not count. */
const anotherUsers: OwnerOf = () => Promise.resolve(12345)

/** A process that takes the lock, says "taken" or "locked", and stays. */
async function taker(): Promise<{ child: ChildProcess; said: string }> {
  const script = `
    const { lockStateDir } = await import(${JSON.stringify(join(import.meta.dirname, '../../supervisor/effects/lock.ts'))})
    try {
      await lockStateDir(${JSON.stringify(stateDir)}, async () => 12345)
      console.log('taken')
    } catch (error) {
      console.log(error.name === 'LockedError' ? 'locked' : error.message)
    }
    setInterval(() => undefined, 1000)`
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  children.push(child)
  const [said] = (await once(createInterface({ input: child.stdout }), 'line')) as [string]
  return { child, said }
}

/** The name of the abstract socket that version 0.1 takes. */
function legacyName(): string {
  const { dev, ino } = statSync(stateDir)
  const hash = createHash('sha256').update(`${String(dev)}:${String(ino)}`)
  return `\0tsnsrv-sup-${hash.digest('hex').slice(0, 32)}`
}

describe('the lock of a state directory', () => {
  it('is had by one, and by the next when that lets go, and leaves one file', async () => {
    for (let turn = 1; turn <= 3; turn++) {
      const held = await lock()
      await expect(lock()).rejects.toThrow(LockedError)
      await held.release()
      expect(files()).toEqual([`lock.${String(turn)}`])
    }
  })

  it('is had by one of many processes that come together, again and again, and is free when that is killed', async () => {
    for (let round = 0; round < 2; round++) {
      const takers = await Promise.all(Array.from({ length: 6 }, taker))
      expect(takers.map(({ said }) => said).sort()).toEqual(['locked', 'locked', 'locked', 'locked', 'locked', 'taken'])
      const holder = takers.find(({ said }) => said === 'taken')?.child
      const gone = once(holder!, 'exit')
      holder?.kill('SIGKILL')
      await gone
    }
    await (await lock()).release()
  })

  it('is had by one of many attempts at the same moment, after a holder that was killed', async () => {
    const { child } = await taker()
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
    for (let round = 0; round < 50; round++) {
      const outcomes = await Promise.allSettled(Array.from({ length: 8 }, () => lock(anotherUsers)))
      const held = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []))
      expect(held).toHaveLength(1)
      await held[0]?.release()
    }
    expect(files()).toEqual(['lock.51'])
  })

  it('stays with a holder that is stopped by a signal', async () => {
    const { child, said } = await taker()
    expect(said).toBe('taken')
    child.kill('SIGSTOP')
    // More than the kernel keeps waiting for one that takes no connections.
    for (let attempt = 0; attempt < 600; attempt++) await expect(lock()).rejects.toThrow(LockedError)
  })

  it('needs no short path', async () => {
    const short = stateDir
    stateDir = join(short, 'x'.repeat(200))
    mkdirSync(join(stateDir, '.supervisor'), { recursive: true })
    const held = await lock()
    await expect(lock()).rejects.toThrow(LockedError)
    await held.release()
    stateDir = short
  })

  it('that root has had is free for the owner of the directory', async (context) => {
    if (me !== 0) context.skip('only root can become another user')
    await (await lock()).release()
    for (const path of [stateDir, join(stateDir, '.supervisor')]) chownSync(path, 65534, 65534)
    process.seteuid?.(65534)
    try {
      const held = await lockStateDir(stateDir, () => Promise.resolve(null))
      await held.release()
    } finally {
      process.seteuid?.(0)
    }
  })
})

describe('the lock of version 0.1', () => {
  const hold = async () => {
    const old = createServer().listen(legacyName())
    await once(old, 'listening')
    return () => new Promise((resolve) => old.close(resolve))
  }

  it('keeps this one from starting while the operator holds it', async () => {
    const free = await hold()
    for (const owner of [0, me, statSync(stateDir).uid]) {
      await expect(lock(() => Promise.resolve(owner))).rejects.toThrow(/another tsnsrv-sup runs on/)
    }
    await free()
    await (await lock()).release()
  })

  it('does not keep this one from starting when another user has taken its name, which is told', async () => {
    const free = await hold()
    for (const owner of [12345, null]) {
      const held = await lock(() => Promise.resolve(owner))
      expect(held.note).toContain(owner === null ? 'another process has taken' : 'a process of uid 12345 has taken')
      await expect(lock(() => Promise.resolve(owner))).rejects.toThrow(LockedError)
      await held.release()
    }
    await free()
  })

  it('is held by this one, too, so that such a version does not start beside it', async () => {
    const held = await lock()
    const old = createServer().listen(legacyName())
    await expect(once(old, 'listening')).rejects.toThrow('EADDRINUSE')
    await held.release()
    const next = await hold()
    await next()
  })
})

it('is not taken where the directory cannot hold it, with the reason', async (context) => {
  if (me === 0) context.skip('root may write anywhere')
  chmodSync(join(stateDir, '.supervisor'), 0o500)
  await expect(lock()).rejects.toThrow(`cannot lock ${stateDir}`)
  chmodSync(join(stateDir, '.supervisor'), 0o700)
})
