/** As much of a browser as a login takes: it keeps cookies, and follows redirects between the tailnet and loopback. */
import { type Question, type SecureLab, askSecurely } from './pebble.ts'

export interface Page {
  url: URL
  status: number
  body: string
  /** Where a redirect leads; undefined for anything else. */
  location?: URL | undefined
}

interface Cookie {
  name: string
  value: string
  /** The host that set it, or the domain that it set it for. */
  domain: string
}

const MOST_REDIRECTS = 10

export class Browser {
  readonly #lab: SecureLab
  #cookies: Cookie[] = []

  constructor(lab: SecureLab) {
    this.#lab = lab
  }

  /** Asks for one page, a service's by https and any other by http, and goes no further. */
  async ask(url: URL, question: Question = {}): Promise<Page> {
    const cookies = this.#cookies.filter(({ domain }) => covers(domain, url.hostname))
    const headers = {
      accept: 'text/html,application/xhtml+xml,*/*;q=0.8',
      ...(cookies.length > 0 && { cookie: cookies.map(({ name, value }) => `${name}=${value}`).join('; ') }),
      ...question.headers,
    }
    const answer = await this.#send(url, { ...question, headers })
    for (const line of answer.cookies) this.#keep(line, url.hostname)
    return { url, ...answer, location: answer.location ? new URL(answer.location, url) : undefined }
  }

  /** Asks, and follows redirects to the last page. */
  async visit(url: URL, question: Question = {}): Promise<Page> {
    let page = await this.ask(url, question)
    for (let redirects = 0; page.location; redirects++) {
      if (redirects === MOST_REDIRECTS) throw new Error(`redirected in circles at ${page.url.href}`)
      page = await this.ask(page.location)
    }
    return page
  }

  async #send(url: URL, { method = 'GET', headers = {}, body = '' }: Question) {
    if (url.protocol === 'https:') {
      const { headers: answered, ...answer } = await askSecurely(this.#lab, url.href, 'tailnet', { method, headers, body })
      return { ...answer, location: answered.location, cookies: answered['set-cookie'] ?? [] }
    }
    const signal = AbortSignal.timeout(20_000)
    const answer = await fetch(url, { method, headers, redirect: 'manual', signal, ...(body && { body }) })
    const location = answer.headers.get('location') ?? undefined
    return { status: answer.status, body: await answer.text(), location, cookies: answer.headers.getSetCookie() }
  }

  #keep(line: string, host: string): void {
    const [pair = '', ...attributes] = line.split(';').map((part) => part.trim())
    const attribute = (name: string) =>
      attributes.find((text) => text.toLowerCase().startsWith(`${name}=`))?.slice(name.length + 1)
    const domain = attribute('domain')?.replace(/^\./, '') ?? host
    if (!covers(domain, host)) throw new Error(`${host} may not set a cookie for ${domain}`)
    const equals = pair.indexOf('=')
    const [name, value] = [pair.slice(0, equals), pair.slice(equals + 1)]
    this.#cookies = this.#cookies.filter((cookie) => cookie.name !== name || cookie.domain !== domain)
    const gone = attribute('max-age') === '0' || Date.parse(attribute('expires') ?? '') < Date.now()
    if (!gone) this.#cookies.push({ name, value, domain })
  }
}

const covers = (domain: string, host: string): boolean => host === domain || host.endsWith(`.${domain}`)
