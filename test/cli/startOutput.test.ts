import { expect, test } from 'vitest'
import { createStartOutput } from '../../supervisor/cli/startOutput.ts'
import type { Transition } from '../../supervisor/core/transitions.ts'
import { CapturedOutput } from './terminal.ts'

const service = { subject: 'service', name: 'blog', shard: 1, reason: 'Ready', message: 'Serving.' } as const
const worker = { subject: 'worker', name: 'shard-1-a-0', shard: 1, pid: 4001, reason: '', message: '' } as const

test.each<[what: string, transition: Transition, isKept: boolean]>([
  ['a state that the worker tells', { ...service, pid: 4001, from: 'starting', to: 'ready' }, false],
  ['a login that is waited for', { ...service, pid: 4001, from: 'starting', to: 'needsLogin' }, true],
  ['a worker that falls silent', { ...worker, from: 'ready', to: 'silent' }, true],
  ['an attempt that reached no worker', { ...service, shard: 0, pid: null, from: 'pending', to: 'pending' }, true],
  ['a worker that is up', { ...worker, from: 'spawning', to: 'ready' }, false],
  ['a worker that answers again', { ...worker, from: 'unknown', to: 'ready' }, true],
  ['a worker that has ended', { ...worker, from: 'ready', to: 'gone' }, true],
])(
  '%s is shown, and kept in the log of the supervisor unless the log of the worker has it',
  async (_what, transition, isKept) => {
    const [shown, kept] = [new CapturedOutput(), new CapturedOutput()]
    const output = await createStartOutput(shown, kept)
    output.transition(transition)
    const { shard } = JSON.parse(shown.text) as { shard?: number }
    // 0 is no shard.
    expect(shard).toBe(transition.shard === 0 ? undefined : 1)
    const withoutTime = (text: string) => text.replace(/"time":"[^"]*",/, '')
    expect(withoutTime(kept.text)).toBe(isKept ? withoutTime(shown.text) : '')
  },
)
