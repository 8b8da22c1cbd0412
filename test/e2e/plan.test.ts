/** What `plan` says beforehand, and a configuration that is taken as soon as its file has changed. */
import { readFile, rename, writeFile } from 'node:fs/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { parse, stringify } from 'yaml'
import type { Plan } from '../../shared/api.ts'
import { type ServiceKeys, Stack, allReady, workerPids } from './stack.ts'

let stack: Stack
afterEach(() => stack.end())

/** Writes the configuration without a control server, which only the command line of `start` names. */
async function configure(services: readonly ServiceKeys[]): Promise<void> {
  await stack.configure(services, { supervisor: { stateDir: stack.stateDir, runDir: stack.runDir, drainTimeout: '2s' } })
}

async function planned(file = stack.configFile): Promise<Record<string, Plan['services'][number]['change']>> {
  const { stdout } = await stack.cli('plan', '--config', file, '--json')
  return Object.fromEntries((JSON.parse(stdout) as Plan).services.map(({ name, change }) => [name, change]))
}

describe('with --watch-config', () => {
  it('what plan has told is done when the file changes; a broken file changes nothing', async () => {
    stack = await Stack.create({ upstreams: 4 })
    await configure(stack.services(3))
    await stack.startReady('--control-url', stack.lab.controlURL, '--watch-config', '--memory-limit', '512MiB')
    const [pid] = workerPids(await stack.status())
    const cmdline = (await readFile(`/proc/${String(pid)}/cmdline`, 'utf8')).split('\0')
    expect(cmdline).toEqual(expect.arrayContaining(['--memory-limit', String(512 * 1024 * 1024)]))
    // The supervisor reads it with the control URL of its own command line, as a reload does.
    expect(await planned()).toEqual({ svc0: { type: 'unchanged' }, svc1: { type: 'unchanged' }, svc2: { type: 'unchanged' } })
    const before = await stack.status()
    const keys = new Map((await stack.nodes()).map(({ hostname, nodeKey }) => [hostname, nodeKey]))

    const [svc0, svc1] = stack.services(3)
    if (!svc0 || !svc1) throw new Error('three services were made')
    const proxied = { ...svc0, upstream: stack.upstream(3) }
    const renamed = { ...svc1, hostname: 'renamed' }
    const { configFile } = stack
    const candidate = `${configFile}.next`
    const running = parse(await readFile(configFile, 'utf8')) as Record<string, unknown>
    await writeFile(candidate, stringify({ ...running, services: [proxied, renamed] }))
    expect(await planned(candidate)).toEqual({
      svc0: { type: 'changed', disturbs: 'proxy', fields: ['upstream'] },
      svc1: { type: 'changed', disturbs: 'node', fields: ['hostname'] },
      svc2: { type: 'removed' },
    })
    expect((await stack.status()).configGeneration).toBe(1)

    await rename(candidate, configFile)
    const after = await stack.until((status) => status.configGeneration === 2 && allReady(status), 'the new configuration')
    const since = ({ services }: typeof after, name: string) => services.find((service) => service.name === name)?.since
    expect(after.services.map(({ name }) => name)).toEqual(['svc0', 'svc1'])
    expect(since(after, 'svc0')).toBe(since(before, 'svc0'))
    expect(since(after, 'svc1')).not.toBe(since(before, 'svc1'))
    // With its kept network map the node is ready before the control server has heard of its new name.
    const keyOfRenamed = async () => (await stack.nodes()).find(({ hostname }) => hostname === 'renamed')?.nodeKey
    await expect.poll(keyOfRenamed, { timeout: 30_000 }).toBe(keys.get('svc1'))

    await writeFile(configFile, 'services:\n  - nam: svc0\n')
    const refused = await stack.until(({ configError }) => configError !== '', 'the refusal')
    expect(refused.configError).toContain('services.yaml:2:5')
    expect(refused.services.map(({ ready }) => ready)).toEqual([true, true])
  })
})
