/** Real files, changed in every way in which configurations are. */
import { appendFile, mkdir, mkdtemp, rename, rm, symlink, unlink, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { watchFile } from '../../supervisor/effects/watchFile.ts'

const times = { intervalMs: 20, quietMs: 100 }
const patience = { timeout: 10_000, interval: 5 }

let directory: string
let path: string
let stop: () => void = () => undefined
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'watch-file-'))
  path = join(directory, 'services.yaml')
})
afterEach(async () => {
  stop()
  await rm(directory, { recursive: true })
})

/** Watches until each of the changes was noticed, one after the other. */
async function noticed(...changes: (() => Promise<unknown>)[]): Promise<void> {
  const onChange = vi.fn()
  stop = watchFile(path, onChange, times)
  for (const [i, change] of changes.entries()) {
    // The first look may still be to come, and what is there then is what later looks are compared with.
    await vi.waitFor(async () => {
      if (onChange.mock.calls.length === i) await change()
      await vi.waitFor(() => expect(onChange.mock.calls.length).toBeGreaterThan(i), { timeout: 2000, interval: 5 })
    }, patience)
  }
}

test('a file that is written again, as by shells', async () => {
  await writeFile(path, 'old')
  await noticed(
    () => writeFile(path, 'a new one'),
    () => appendFile(path, ', longer'),
  )
})

test('a file that is replaced, as by editors', async () => {
  await writeFile(path, 'old')
  const replace = async () => {
    await writeFile(`${path}.new`, 'new')
    await rename(`${path}.new`, path)
  }
  await noticed(replace, replace)
})

test('a file that is gone, and one that is there again', async () => {
  await writeFile(path, 'old')
  await noticed(
    () => rm(path, { force: true }),
    () => writeFile(path, 'new'),
  )
})

test('a link to a directory on the way to it is swapped, as by Kubernetes', async () => {
  let version = 0
  const publish = async () => {
    const data = join(directory, `..v${String(++version)}`)
    await mkdir(data)
    await writeFile(join(data, 'services.yaml'), 'same size')
    await symlink(data, join(directory, '..next'))
    await rename(join(directory, '..next'), join(directory, '..data'))
  }
  await publish()
  await symlink(join('..data', 'services.yaml'), path)
  await noticed(publish, publish)
})

test('a link to a file of the same size and time is swapped, as by Nix', async () => {
  for (const name of ['first', 'other']) {
    await writeFile(join(directory, name), name)
    await utimes(join(directory, name), 1, 1)
  }
  await symlink(join(directory, 'first'), path)
  const point = async (name: string) => {
    await unlink(path)
    await symlink(join(directory, name), path)
  }
  await noticed(
    () => point('other'),
    () => point('first'),
  )
})

test('what is written bit by bit is told once, when it is complete', async () => {
  await writeFile(path, '')
  const lengths: number[] = []
  let written = 0
  stop = watchFile(path, () => lengths.push(written), { intervalMs: 20, quietMs: 2000 })
  const timer = setInterval(() => void appendFile(path, String(written++ % 10)), 30)
  await vi.waitFor(() => expect(written).toBeGreaterThan(30), patience)
  clearInterval(timer)
  await vi.waitFor(() => expect(lengths).toEqual([written]), patience)
})
