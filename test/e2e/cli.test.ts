/** The program as an operator meets it: exit codes, bad input, output of each command against a real supervisor. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { chmod, mkdir, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { execa } from 'execa'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import type { Status } from '../../shared/api.ts'
import { Stack, freePort } from './stack.ts'

let stack: Stack

beforeAll(async () => {
  stack = await Stack.create({ upstreams: 3 })
  await stack.configure(stack.services(5), { prometheusAddr: `127.0.0.1:${String(await freePort())}` })
  await stack.startReady()
  await Promise.all(stack.services(5).map(({ name }) => stack.whoAnswers(name)))
})
afterAll(() => stack.end())

const running = () => ['--run-dir', stack.runDir]

it('shows where a configuration is that was named relative to another directory', async () => {
  const other = await Stack.create({ upstreams: 1, launcher: ['env', '-C', tmpdir()] })
  onTestFinished(() => other.end())
  await other.configure(other.services(1))
  await other.startReady('--config', relative(tmpdir(), other.configFile))
  expect((await other.status()).configFile).toBe(other.configFile)
  const { stdout } = await other.cli('status', '--run-dir', other.runDir)
  expect(stdout).toContain(`config ${other.configFile} (generation 1)`)
})

describe('bad input to start is one clear error, exit 2, and touches nothing that runs', () => {
  const cases: [string, (file: string) => Promise<void>, RegExp][] = [
    ['a missing file', () => Promise.resolve(), /no such file|does not exist/i],
    ['an empty file', (file) => writeFile(file, ''), /empty/],
    ['a binary file', (file) => writeFile(file, Buffer.from([0, 1, 2, 255, 254])), /binary|text/i],
    ['a half-written file', (file) => writeFile(file, 'services:\n  - name: "wik'), /:2:\d+: error/],
    [
      'a file of 100 MB',
      async (file) => {
        await writeFile(file, 'x')
        await truncate(file, 100 * 1024 * 1024)
      },
      /bigger than 16 MiB/,
    ],
    ['duplicate names', (file) => writeFile(file, servicesYAML('a', 'b', 'A')), /duplicate service name/],
    ['a name of 300 characters', (file) => writeFile(file, servicesYAML('x'.repeat(300))), /63 characters/],
    [
      'a directory',
      async (file) => {
        await mkdir(file)
      },
      /directory/,
    ],
  ]

  it.each(cases)('%s', async (what, make, message) => {
    const file = join(stack.directory, `${what.replaceAll(' ', '-')}.yaml`)
    await make(file)
    const before = await stack.status()
    const { exitCode, stderr, stdout } = await stack.cli('start', '-c', file, '--state-dir', join(stack.directory, 'other'))
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' })
    expect(stderr).toMatch(message)
    expect(stderr).not.toContain('at Object.')
    const after = await stack.status()
    expect(after.services.map(({ since }) => since)).toEqual(before.services.map(({ since }) => since))
  })

  it('a state directory without permission', async (context) => {
    const closed = join(stack.directory, 'closed')
    await mkdir(closed)
    await chmod(closed, 0o500)
    // The way there is open to everybody, the place itself is not.
    for (const way of [stack.directory, dirname(stack.directory)]) await chmod(way, 0o755)
    // Root may write anywhere, so it becomes nobody for this; where nobody cannot read the program, there is nothing to see.
    const user = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {}
    const start = [
      'start',
      '-c',
      stack.configFile,
      '--state-dir',
      join(closed, 'state'),
      '--run-dir',
      join(stack.directory, 'r2'),
    ]
    if ((await stack.cliAs(user, 'version')).exitCode !== 0) context.skip('another user cannot read this checkout')
    const { exitCode, stderr } = await stack.cliAs(user, ...start)
    expect(exitCode).toBe(2)
    expect(stderr).toContain(closed)
  })

  it('a state directory that cannot be made', async () => {
    const { exitCode, stderr } = await stack.cli(
      'start',
      '-c',
      stack.configFile,
      '--state-dir',
      '/dev/null/state',
      '--run-dir',
      join(stack.directory, 'r'),
    )
    expect(exitCode).toBe(2)
    expect(stderr).toContain('/dev/null/state')
  })
})

describe('a state directory that others can write to', () => {
  it('is refused, exit 2, with the command that mends it', async () => {
    const state = join(stack.directory, 'shared')
    await mkdir(state)
    await chmod(state, 0o777)
    const { exitCode, stderr } = await stack.cli(
      'start',
      '-c',
      stack.configFile,
      '--state-dir',
      state,
      '--run-dir',
      join(state, 'r'),
    )
    expect(exitCode).toBe(2)
    expect(stderr).toContain(`chmod go-w ${state}`)
  })
})

describe('a start that cannot write its state', () => {
  it('says so, ends with 1, and holds nothing', async () => {
    const state = join(stack.directory, 'unwritable')
    // A directory in the place of the temporary file: no user can write that, root included.
    await mkdir(join(state, '.supervisor', 'state.json.new'), { recursive: true })
    const elsewhere = ['--state-dir', state, '--run-dir', join(state, 'run'), '--prometheus-addr', 'off']
    for (const attempt of ['first', 'second']) {
      const { exitCode, stderr } = await stack.cli('start', '-c', stack.configFile, ...elsewhere)
      expect(exitCode, attempt).toBe(1)
      expect(stderr, attempt).toContain('cannot write')
    }
  })
})

describe('a second supervisor', () => {
  it('is refused, exit 1, and the first one goes on', async () => {
    const { exitCode, stderr } = await stack.cli('start', '-c', stack.configFile)
    expect(exitCode).toBe(1)
    expect(stderr).toMatch(/another tsnsrv-sup runs on/)
    expect((await stack.status()).phase).toBe('running')
  })

  it('with metrics on the same address starts all the same, and says so', async () => {
    const other = await Stack.create({ upstreams: 1 })
    try {
      const { prometheusAddr } = await stack.status()
      await other.configure(other.services(1), { prometheusAddr })
      await other.startReady()
      const { metricsError } = await other.status()
      expect(metricsError).toContain(`${prometheusAddr}: the address is in use by another program`)
      expect(metricsError).toContain('--prometheus-addr')
      expect((await other.cli('status', '--config', other.configFile)).stdout).toContain(metricsError)
    } finally {
      await other.end()
    }
  })

  it('is not kept away by another user who takes the lock of version 0.1', async (context) => {
    if (process.getuid?.() !== 0) context.skip('only root can become another user')
    const other = await Stack.create({ upstreams: 1 })
    await other.configure(other.services(1))
    await mkdir(other.stateDir, { mode: 0o700 })
    const { dev, ino } = await stat(other.stateDir)
    const name = createHash('sha256')
      .update(`${String(dev)}:${String(ino)}`)
      .digest('hex')
      .slice(0, 32)
    const script = `require('net').createServer().listen('\\0tsnsrv-sup-${name}', () => console.log('taken'))`
    const squatter = execa(process.execPath, ['-e', script], { uid: 65534, gid: 65534, cwd: '/', reject: false })
    try {
      await once(squatter.stdout, 'data')
      const supervisor = await other.startReady()
      supervisor.kill('SIGTERM')
      expect((await supervisor.ended).stderr).toContain('a process of uid 65534 has taken the abstract socket')
    } finally {
      squatter.kill('SIGKILL')
      await squatter
      await other.end()
    }
  })
})

describe('commands', () => {
  it('exit 3 where there is no supervisor, and say where they looked', async () => {
    for (const command of ['status', 'stop', 'services', 'reload']) {
      const { exitCode, stderr } = await stack.cli(command, '--run-dir', join(stack.directory, 'nobody'))
      expect(exitCode, command).toBe(3)
      expect(stderr, command).toContain(join(stack.directory, 'nobody'))
    }
  })

  it('exit 2 for wrong usage, and name the nearest right one', async () => {
    const unknownCommand = await stack.cli('statsu')
    expect(unknownCommand.exitCode).toBe(2)
    expect(unknownCommand.stderr).toContain('status')
    expect((await stack.cli('status', '--jsn')).exitCode).toBe(2)
  })

  it('status --json is the API, and status a table without colours when it is no terminal', async () => {
    const json = JSON.parse((await stack.cli('status', '--json', ...running())).stdout) as Status
    expect(json.services).toHaveLength(5)
    expect(json.services[0]).toMatchObject({ name: 'svc0', ready: true, phase: 'ready' })
    const { stdout } = await stack.cli('status', ...running())
    expect(stdout).toContain('svc4')
    expect(stdout).not.toContain('\u001b[')
  })

  it('services lists every service with its tailnet name', async () => {
    const { stdout, exitCode } = await stack.cli('services', ...running())
    expect(exitCode).toBe(0)
    for (const { name } of stack.services(5)) expect(stdout).toContain(name)
  })

  it('logs shows what happened to one service', async () => {
    const { stdout, exitCode } = await stack.cli('logs', 'svc3', ...running())
    expect(exitCode).toBe(0)
    expect(stdout).toContain('svc3')
    expect(stdout).not.toContain('svc2')
  })

  it('plan tells that nothing would change, and what a change would do', async () => {
    const same = await stack.cli('plan', '--config', stack.configFile)
    expect(same.exitCode).toBe(0)
    const file = join(stack.directory, 'changed.yaml')
    const supervisor = { controlURL: stack.lab.controlURL, stateDir: stack.stateDir, runDir: stack.runDir, shardSize: 4 }
    const services = [...stack.services(4), { name: 'newcomer', upstream: stack.upstream(0) }]
    await writeFile(
      file,
      JSON.stringify({ prometheusAddr: 'off', supervisor, defaults: { plaintext: true, listenAddr: ':80' }, services }),
    )
    const { stdout } = await stack.cli('plan', '--config', file)
    expect(stdout).toMatch(/\+ *newcomer/)
    expect(stdout).toMatch(/- *svc4/)
    expect((await stack.status()).services.map(({ name }) => name)).toContain('svc4')
  })

  it('validate says ok, and version tells', async () => {
    expect((await stack.cli('validate', stack.configFile)).exitCode).toBe(0)
    expect((await stack.cli('version')).stdout).toMatch(/\d+\.\d+\.\d+/)
  })
})

describe('metrics', () => {
  it('are one page of valid exposition with requests per service and figures per shard', async () => {
    const { prometheusAddr } = await stack.status()
    const text = await (await fetch(`http://${prometheusAddr}/metrics`)).text()
    for (const { name } of stack.services(5)) {
      expect(text).toMatch(new RegExp(`tsnsrv_requests_total\\{[^}]*service="${name}"[^}]*\\} [1-9]`))
    }
    expect(text).toMatch(/tsnsrv_request_duration_seconds_bucket\{/)
    expect(text).toMatch(/tsnsrv_sup_shard_services\{shard="1"\} \d/)
    const promtool = await execa('promtool', ['check', 'metrics'], { input: text, reject: false })
    // Without promtool on the machine the exit code is undefined; CI has it.
    if (promtool.exitCode !== undefined) expect(promtool.stderr).not.toMatch(/error/i)
  })
})

const servicesYAML = (...names: string[]) =>
  `defaults: {plaintext: true}\nservices:\n${names.map((name) => `  - {name: "${name}", upstream: "http://127.0.0.1:1"}\n`).join('')}`
