/** The progress of `start` on a terminal: how many services are ready, which are in trouble, how long it has taken. */
import { createLogUpdate } from 'log-update'
import type { ServiceView, Status } from '../../shared/api.ts'
import { formatDuration } from './format.ts'
import { colorsFor, type Colors, type Output, plain } from './terminal.ts'

export interface Progress {
  update(status: Status): void
  /** Writes a line that stays, above the bar. Whatever else goes to the same terminal meanwhile must come this way. */
  print(line: string): void
  /** Replaces the bar by `summary` and ends. */
  done(summary: string): void
}

const BAR_WIDTH = 30
const REDRAW_MS = 200
const MAX_TROUBLES = 5

/** Draws on `stream`, a terminal, until `done`. */
export function createProgress(stream: Output): Progress {
  const draw = createLogUpdate(stream)
  const colors = colorsFor(stream)
  const startedAt = Date.now()
  let services: readonly ServiceView[] = []
  const redraw = () => {
    draw(renderProgress(services, Date.now() - startedAt, colors))
  }
  const timer = setInterval(redraw, REDRAW_MS)
  return {
    update(status) {
      services = status.services
      redraw()
    },
    print(line) {
      draw.persist(line)
      redraw()
    },
    done(summary) {
      clearInterval(timer)
      draw(summary)
      draw.done()
    },
  }
}

/** The bar and below it what does not come up by itself. */
export function renderProgress(services: readonly ServiceView[], elapsedMs: number, colors: Colors): string {
  const ready = services.filter((service) => service.ready).length
  const filled = services.length === 0 ? 0 : Math.floor((BAR_WIDTH * ready) / services.length)
  const bar = `${colors.green('█'.repeat(filled))}${colors.dim('░'.repeat(BAR_WIDTH - filled))}`
  const troubled = services.filter(({ phase }) => phase === 'failed' || phase === 'needsLogin')
  const lines = troubled.slice(0, MAX_TROUBLES).map(({ name, message, loginURL, reason }) => {
    const text = loginURL === '' ? message || reason : `log in at ${loginURL}`
    return `  ${colors.yellow(name)}: ${plain(text)}`
  })
  if (troubled.length > lines.length) lines.push(`  ... and ${troubled.length - lines.length} more`)
  return [`${bar} ${ready}/${services.length} ready  ${colors.dim(formatDuration(elapsedMs))}`, ...lines].join('\n')
}
