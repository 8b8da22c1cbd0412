import { chmod, mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { ConfigError } from '../../supervisor/config/diagnostic.ts'
import { loadConfig } from '../../supervisor/effects/configFile.ts'

// How long it takes depends on what else the machine does, and says nothing here.
vi.setConfig({ testTimeout: 60_000 })

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'config-file-'))
})
afterEach(async () => {
  await rm(directory, { recursive: true })
})

const valid = 'services: [{ name: a, upstream: "http://h", plaintext: true, recommendedProxyHeaders: true }]\n'

async function written(content: string | Buffer): Promise<string> {
  const path = join(directory, 'services.yaml')
  await writeFile(path, content)
  return path
}

/** The one error that a file is refused with, without its name. */
async function refusalOf(path: string): Promise<string> {
  const error: unknown = await loadConfig(path, {}).catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(ConfigError)
  expect((error as ConfigError).diagnostics).toHaveLength(1)
  return (error as ConfigError).message.replaceAll(path, 'FILE')
}

test('a good file is read, with the directories of this process', async () => {
  const { config, text } = await loadConfig(await written(`supervisor: { stateDir: state }\n${valid}`), {})
  expect(config.settings.stateDir).toBe(join(process.cwd(), 'state'))
  expect(text).toContain('services:')
})

test('a byte order mark is no error, and places are right behind it', async () => {
  const { config } = await loadConfig(await written(`\uFEFF${valid}`), {})
  expect(config.services).toHaveLength(1)
  expect(await refusalOf(await written(`\uFEFF${valid}x: 1\n`))).toContain('FILE:2:1: error: unknown key "x"')
})

test('a missing file', async () => {
  expect(await refusalOf(join(directory, 'none.yaml'))).toBe(
    'FILE: error: no such file\n  = name the configuration with --config FILE',
  )
})

test('a directory', async () => {
  expect(await refusalOf(directory)).toContain('FILE: error: this is a directory, not a configuration file')
})

test.skipIf(process.getuid?.() === 0)('a file that may not be read', async () => {
  const path = await written(valid)
  await chmod(path, 0)
  expect(await refusalOf(path)).toContain('FILE: error: no permission to read it (EACCES)')
})

test('100 MB are refused at once', async () => {
  const path = join(directory, 'big.yaml')
  const file = await open(path, 'w')
  await file.truncate(100_000_000)
  await file.close()
  expect(await refusalOf(path)).toBe('FILE: error: bigger than 16 MiB: this is no configuration file')
})

test('a device without an end is refused too', async () => {
  expect(await refusalOf('/dev/zero')).toContain('bigger than 16 MiB')
})

test('bytes that are no UTF-8', async () => {
  expect(await refusalOf(await written(Buffer.from([0x7f, 0x45, 0x4c, 0x46, 0xff, 0xfe])))).toContain('not valid UTF-8')
  expect(await refusalOf(await written(Buffer.from(valid, 'utf16le')))).toContain('control character 0x00')
})
