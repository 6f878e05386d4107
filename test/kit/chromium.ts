import { type Browser, chromium, type Page } from 'playwright-core'
import type { Test } from 'tap'

/**
 * A real browser for tests: SIGHTLINE_TEST_CHROMIUM=/usr/bin/chromium names it (Debian: `apt install chromium`).
 * Where it is unset the tests that need it say so and are skipped.
 */
export const chromiumPath: string | undefined = process.env.SIGHTLINE_TEST_CHROMIUM || undefined
/** For tap's `skip`. */
export const skipWithoutChromium: string | false = chromiumPath
  ? false
  : 'SIGHTLINE_TEST_CHROMIUM names no browser'

/** Nothing that the browser would do by itself: the tests count requests and complaints. */
const QUIET = [
  '--disable-gpu',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-default-apps',
  '--disable-sync',
  '--no-first-run',
  '--no-sandbox',
]

/** A camera and a microphone that the browser makes up, which pages may use unasked; and WebRTC within this machine. */
export const FAKE_CAMERA = [
  '--use-fake-device-for-media-stream',
  '--use-fake-ui-for-media-stream',
  '--allow-loopback-in-peer-connection',
]

export async function openChromium(more: readonly string[] = []): Promise<Browser> {
  return chromium.launch({ executablePath: chromiumPath, headless: true, args: [...QUIET, ...more] })
}

/** One browser for all tests of a file, opened by the first that asks, closed after the last. @param more arguments */
export function sharedChromium(t: Test, more: readonly string[] = []): () => Promise<Browser> {
  let opening: Promise<Browser> | undefined
  t.teardown(async () => (await opening)?.close())
  return () => {
    opening ??= openChromium(more)
    return opening
  }
}

/** What a page looks like, for people: where SIGHTLINE_TEST_PICTURES names a folder. */
export async function keepPicture(page: Page, name: string): Promise<void> {
  const folder = process.env.SIGHTLINE_TEST_PICTURES
  if (folder) await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true })
}

/** Nothing sticks out of the window. */
export const fits = (page: Page) => page.evaluate('document.documentElement.scrollWidth <= innerWidth')

export interface PageOptions {
  readonly width: number
  readonly height: number
  readonly dark?: boolean
  readonly phone?: boolean
  readonly timezone?: string
  readonly locale?: string
}

export interface WatchedPage {
  readonly page: Page
  /** Console errors and warnings, exceptions, failed requests, violations of the page's own policy. */
  readonly complaints: string[]
  /** Addresses asked for that are not below the origin the page came from. */
  readonly foreign: string[]
}

/** A page that notes whatever it has to complain about; closed with the test. */
export async function openPage(t: Test, browser: Browser, options: PageOptions): Promise<WatchedPage> {
  const context = await browser.newContext({
    viewport: { width: options.width, height: options.height },
    colorScheme: options.dark ? 'dark' : 'light',
    isMobile: options.phone ?? false,
    hasTouch: options.phone ?? false,
    timezoneId: options.timezone ?? 'UTC',
    locale: options.locale ?? 'en-GB',
  })
  t.teardown(() => context.close())
  const page = await context.newPage()
  const complaints: string[] = []
  const foreign: string[] = []
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text())
  })
  page.on('pageerror', (error) => complaints.push(String(error)))
  page.on('requestfailed', (request) => {
    const why = request.failure()?.errorText
    if (why !== 'net::ERR_ABORTED') complaints.push(`${request.url()}: ${why}`)
  })
  page.on('request', (request) => {
    const own = page.url() === 'about:blank' ? request.url() : page.url()
    if (new URL(request.url()).origin !== new URL(own).origin) foreign.push(request.url())
  })
  return { page, complaints, foreign }
}
