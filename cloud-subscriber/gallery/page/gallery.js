/**
 * The gallery. It reads the small files that index-files.ts describes, beside it in the bucket, and shows the faces
 * they name, newest first. Names come from the wire: they reach the page only as text.
 *
 *   poll    -> heads: what each writer has (one small conditional request a writer, every 1.5 seconds)
 *   fill    -> chunks: walks them from the newest day and chunk backwards, until there is enough to show; days that a
 *              head has no room for are in a file a year, read when the walk gets there
 *   render  -> the view: what matches the filter, sorted, one window of it as elements
 */

/** So that a server that is gone is said within two seconds. */
const POLL_MS = 1_500
const POLL_MS_MAX = 30_000
/** Without an answer for so long it is said; the slower line may still bring one. */
const SILENT_MS = 2_000
/** A request that takes longer has failed. */
const ANSWER_MS_MAX = 30_000
const WRITERS_POLL_MS = 60_000
const WRITERS_MAX = 64
/** A subscriber that missed this many heartbeats is not heard from. */
const HEARTBEATS_MISSED_MAX = 3
const TILES_STEP = 60
/** Elements on the page at once; older ones than that move the window. */
const TILES_MAX = 600
/** Index files fetched in one go before the visitor is asked whether to look on. */
const CHUNKS_A_GO_MAX = 12
/** Entries in memory; then a narrower filter is the way. */
const ENTRIES_MAX = 50_000
/** Scrolled further than this, the page holds still when faces arrive, and says that there are new ones. */
const AT_TOP_PX = 240
/** Tiles are added this far ahead of the page's end. */
const AHEAD_PX = 600
/** How far a small picture is enlarged in the viewer. */
const ENLARGE_MAX = 4

const KEY = /^[A-Za-z0-9_-][A-Za-z0-9._-]*(?:\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$/
const DAY_MS = 86_400_000
/** A day that begins later than this after the subscriber's clock was filed by a camera's that is wrong: it is left out. */
const AHEAD_MS_MAX = 15 * 60_000
/** Days taken of one head; that of an earlier version has no bound of its own. */
const HEAD_DAYS_MAX = 4_000

const element = (id) => document.getElementById(id)
const page = Object.fromEntries(
  [
    'state',
    'state-text',
    'filters',
    'device',
    'day',
    'skip',
    'main',
    'waiting',
    'arrived',
    'newest',
    'days',
    'nothing',
    'nothing-title',
    'nothing-text',
    'nothing-steps',
    'everything',
    'end',
    'more',
    'viewer',
    'viewer-image',
    'viewer-missing',
    'viewer-time',
    'viewer-date',
    'viewer-list',
    'viewer-link',
    'viewer-previous',
    'viewer-next',
    'viewer-close',
  ].map((id) => [id, element(id)]),
)

const timeFormat = new Intl.DateTimeFormat(undefined, {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
})
const hourFormat = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' })
const dayFormat = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' })
const dayYearFormat = new Intl.DateTimeFormat(undefined, {
  weekday: 'long',
  day: 'numeric',
  month: 'long',
  year: 'numeric',
})
const shortDayFormat = new Intl.DateTimeFormat(undefined, {
  weekday: 'short',
  day: 'numeric',
  month: 'short',
  year: 'numeric',
})
const numberFormat = new Intl.NumberFormat()

// ---------------------------------------------------------------- the index

/** Writer to its head. */
let heads = new Map()
let writers = []
let writersAtMs = Number.NEGATIVE_INFINITY
/** `writer/year` to what was loaded of that year: its revision, and the days that the writer's head has no room for. */
const years = new Map()
/** `writer/day/n` to what was loaded of it. */
const chunks = new Map()
let entriesLoaded = 0
/** False while the walk back has more to load. */
let exhausted = false
let indexSeen = false

/** When the bucket last answered. */
let answeredAtMs = performance.now()

/** A file of the index, by way of the browser's cache (which asks the bucket whether it changed). */
async function readJson(path) {
  const response = await fetch(`index/${path}`, {
    cache: 'no-cache',
    credentials: 'same-origin',
    signal: AbortSignal.timeout(ANSWER_MS_MAX),
  })
  answeredAtMs = performance.now()
  // A bucket that may not be listed answers 403 for what is not there.
  if (response.status === 404 || response.status === 403) return undefined
  if (!response.ok) throw new Error(`${path}: ${response.status}`)
  return { value: await response.json(), atMs: Date.parse(response.headers.get('date') ?? '') || Date.now() }
}

async function readHeads() {
  if (performance.now() - writersAtMs > WRITERS_POLL_MS || writers.length === 0) {
    const list = await readJson('writers.json')
    writers = (list?.value.writers ?? [])
      .filter((name) => typeof name === 'string' && KEY.test(name))
      .slice(0, WRITERS_MAX)
    writersAtMs = performance.now()
  }
  const found = await Promise.all(writers.map((writer) => readJson(`${writer}/head.json`)))
  heads = new Map()
  found.forEach((head, i) => {
    if (head?.value?.v === 1) heads.set(writers[i], { ...bounded(head.value), seenAtMs: head.atMs })
  })
  spreadDays()
  indexSeen = true
}

/** A head with its newest days, none of them ahead of its writer's clock. */
function bounded(head) {
  const aheadMs = head.aliveAtMs + AHEAD_MS_MAX
  const days = Object.entries(head.days).filter(([day]) => Date.parse(day) <= aheadMs)
  days.sort(([a], [b]) => (a < b ? 1 : -1))
  return {
    ...head,
    devices: head.devices ?? [],
    newest: Object.fromEntries(days.slice(0, HEAD_DAYS_MAX)),
    /** Older days than this one are in files of their own. */
    oldest: days.at(-1)?.[0] ?? '',
    older: Object.entries(head.older ?? {}),
  }
}

/** The days of each head: its own, and those that were loaded of older years. */
function spreadDays() {
  for (const [writer, head] of heads) {
    const loaded = head.older.map(([year]) => years.get(`${writer}/${year}`)?.days)
    head.days = Object.assign({}, ...loaded, head.newest)
  }
}

/** Files of years that are not read, or have changed, and may have days that are asked for. */
const unreadYears = (isWanted) =>
  [...heads].flatMap(([writer, { older, oldest }]) =>
    older
      .filter(
        ([year, revision]) => isWanted(year, oldest) && years.get(`${writer}/${year}`)?.revision !== revision,
      )
      .map(([year, revision]) => ({ writer, year, revision })),
  )

async function readYears(wanted) {
  await Promise.all(
    wanted.map(async ({ writer, year, revision }) => {
      const { value } = (await readJson(`${writer}/${year}.json`)) ?? {}
      years.set(`${writer}/${year}`, { revision, days: value?.days ?? {} })
    }),
  )
  spreadDays()
}

/** The newest year of which not all is read; undefined where all is. */
const nextYear = () =>
  unreadYears(() => true)
    .map(({ year }) => year)
    .sort()
    .at(-1)
const readNextYear = (next = nextYear()) => readYears(unreadYears((year) => year === next))

/** The start of the local day, from `2026-11-20`. */
function localDay(name) {
  const [year, month, day] = name.split('-').map(Number)
  return new Date(year, month - 1, day)
}
function localDayName(ms) {
  const date = new Date(ms)
  return `${date.getFullYear()}-${String(date.getMonth() + 1).padStart(2, '0')}-${String(date.getDate()).padStart(2, '0')}`
}
function localDaySpan(name) {
  const from = localDay(name)
  return [from.getTime(), new Date(from.getFullYear(), from.getMonth(), from.getDate() + 1).getTime()]
}

const daysKnown = () => [...new Set([...heads.values()].flatMap((head) => Object.keys(head.days)))]

/**
 * Days to look at, newest first, and the files of older years where the walk gets to them. The index goes by UTC days,
 * people by their own: of a chosen local day, every UTC day that it touches.
 */
async function* daysWanted() {
  const [from, to] = filter.day
    ? localDaySpan(filter.day)
    : [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY]
  const touches = (day) => Date.parse(day) + DAY_MS > from && Date.parse(day) < to
  const utcYears = filter.day && [from, to].map((ms) => new Date(ms).toISOString().slice(0, 4))
  let before = '~' // after every digit
  for (;;) {
    let more = utcYears ? unreadYears((year) => utcYears.includes(year)) : []
    for (const day of daysKnown().sort().reverse()) {
      if (day >= before || !touches(day)) continue
      // Another writer may have days between the last one and this.
      if (!utcYears) more = unreadYears((year, oldest) => day < oldest && year >= day.slice(0, 4))
      if (more.length > 0) break
      yield day
      before = day
    }
    if (more.length > 0) await readYears(more)
    else if (utcYears || nextYear() === undefined) return
    else await readNextYear()
  }
}

/** Every chunk that could hold what the filter wants, newest first. */
async function* chunksWanted() {
  for await (const day of daysWanted()) {
    const held = [...heads]
      .filter(([, head]) => head.days[day])
      .map(([writer, head]) => [writer, head.days[day]])
    const most = Math.max(...held.map(([, { chunks }]) => chunks))
    for (let back = 0; back < most; back += 1)
      for (const [writer, known] of held) {
        const n = known.chunks - 1 - back
        if (n >= 0)
          yield {
            name: `${writer}/${day}/${n}`,
            writer,
            day,
            closed: n < known.chunks - 1,
            last: known.last,
            revision: known.revision,
          }
      }
  }
}

const isCurrent = (loaded, { closed, last, revision }) =>
  loaded !== undefined && loaded.revision === revision && (closed ? loaded.closed : loaded.rows >= last)

const isEntry = (entry) =>
  typeof entry === 'object' &&
  entry !== null &&
  typeof entry.id === 'string' &&
  KEY.test(entry.key) &&
  Number.isFinite(entry.filedAtMs)

const isOf = (device, entry) => device === '' || `${entry.site}/${entry.device}` === device

function keepChunk(name, chunk) {
  entriesLoaded += (chunk?.entries.length ?? 0) - (chunks.get(name)?.entries.length ?? 0)
  if (chunk) chunks.set(name, chunk)
  else chunks.delete(name)
}

/** Faces of which there is a better picture than the first; wherever it is filed, it is shown in the first's place. */
const tracksWithBest = new Set()
function noteBest(entries) {
  for (const { shot, track } of entries) if (shot === 'best') tracksWithBest.add(track)
}
const isShown = (entry) => matches(entry) && !(entry.shot === 'first' && tracksWithBest.has(entry.track))

/** Loads chunks from the newest back until there is enough to show. Returns whether anything was loaded. */
async function fill(wanted) {
  let matching = 0
  let budget = CHUNKS_A_GO_MAX
  let loadedAny = false
  exhausted = false
  for (const [name, { device }] of chunks)
    if (device !== '' && device !== filter.device) keepChunk(name, undefined)
  for await (const chunk of chunksWanted()) {
    if (!isCurrent(chunks.get(chunk.name), chunk)) {
      if (budget === 0 || entriesLoaded > ENTRIES_MAX) return loadedAny
      budget -= 1
      const { value } = (await readJson(`${chunk.name}.json`)) ?? { value: [] }
      // Of a chosen device only: what another one floods the index with takes no room here.
      const { device } = filter
      const entries = Array.isArray(value)
        ? value.filter((entry) => isEntry(entry) && isOf(device, entry))
        : []
      // A last chunk may have grown between the head and now; the next head says so, and it is current then.
      keepChunk(chunk.name, { ...chunk, device, entries, rows: value.length ?? 0 })
      noteBest(entries)
      loadedAny = true
    }
    for (const entry of chunks.get(chunk.name).entries) if (isShown(entry)) matching += 1
    if (matching >= wanted) return loadedAny
  }
  exhausted = true
  return loadedAny
}

// ---------------------------------------------------------------- the view

const filter = { device: '', day: '' }
/** Stands in the list of days for those that are not read yet. */
const OLDER_DAYS = 'older'
let span
let view = []
let windowStart = 0
let windowSize = TILES_STEP
/** The newest entry shown when the visitor scrolled away; what is newer waits. */
let holdAt
/** How many wait. */
let held = 0
let newestShown

const matches = (entry) =>
  isOf(filter.device, entry) &&
  (span === undefined || (entry.filedAtMs >= span[0] && entry.filedAtMs < span[1]))

/** Newest first; ids are UUIDv7 and settle ties. */
const newestFirst = (a, b) => b.filedAtMs - a.filedAtMs || (a.id === b.id ? 0 : a.id < b.id ? 1 : -1)

function collect() {
  const byId = new Map()
  const present = [...chunks.values()].filter(({ writer, day }) => heads.get(writer)?.days[day]) // not forgotten meanwhile
  tracksWithBest.clear()
  for (const { entries } of present) noteBest(entries)
  for (const { entries } of present)
    for (const entry of entries) if (isShown(entry)) byId.set(entry.id, entry)
  view = [...byId.values()].sort(newestFirst)
}

const objectUrl = (key) => `../${key.split('/').map(encodeURIComponent).join('/')}`
const scoreText = (score) => (Number.isFinite(score) ? Number(score).toFixed(2) : '')
const manySites = () =>
  new Set([...heads.values()].flatMap((head) => head.devices.map((name) => name.split('/')[0]))).size > 1

function dayTitle(name) {
  const today = localDayName(Date.now())
  if (name === today) return 'Today'
  const yesterday = new Date()
  yesterday.setDate(yesterday.getDate() - 1)
  if (name === localDayName(yesterday.getTime())) return 'Yesterday'
  const date = localDay(name)
  return (date.getFullYear() === new Date().getFullYear() ? dayFormat : dayYearFormat).format(date)
}

const tiles = new Map()
function tileOf(entry, isNew) {
  const known = tiles.get(entry.id)
  if (known) return known
  const tile = document.createElement('li')
  const link = document.createElement('a')
  link.className = isNew ? 'crop fresh' : 'crop'
  link.href = objectUrl(entry.key)
  link.dataset.id = entry.id
  const time = timeFormat.format(entry.filedAtMs)
  const image = document.createElement('img')
  image.loading = 'lazy'
  image.decoding = 'async'
  image.width = 160
  image.height = 200
  image.alt = `Face seen by ${entry.site} ${entry.device} ${entry.camera} at ${time}`
  image.addEventListener('error', () => link.classList.add('missing'))
  image.src = link.href
  const caption = document.createElement('span')
  caption.className = 'caption'
  const timeElement = document.createElement('time')
  timeElement.dateTime = new Date(entry.filedAtMs).toISOString()
  timeElement.textContent = time
  const score = document.createElement('span')
  score.className = 'score'
  score.textContent = scoreText(entry.score)
  score.title = 'Detector score, 0 to 1'
  const whereElement = document.createElement('span')
  whereElement.className = 'where'
  if (manySites()) {
    const site = document.createElement('span')
    site.className = 'site'
    site.textContent = `${entry.site} · `
    whereElement.append(site)
  }
  whereElement.append(`${entry.device} · ${entry.camera}`)
  whereElement.title = `${entry.site} · ${entry.device} · ${entry.camera}`
  caption.append(timeElement, score, whereElement)
  const [attribute, ...more] = attributesOf(entry)
  if (attribute) {
    const attributeElement = document.createElement('span')
    attributeElement.className = 'attribute'
    attributeElement.append(textElement(`${attribute[0]}: ${attribute[1]}`))
    if (more.length > 0) attributeElement.append(` +${more.length}`)
    caption.append(attributeElement)
  }
  link.append(image, caption)
  tile.append(link)
  tiles.set(entry.id, tile)
  return tile
}

/** Puts the children in this order, touching only what is out of place. */
function arrange(parent, children) {
  let at = parent.firstElementChild
  for (const child of children) {
    if (child === at) at = at.nextElementSibling
    else parent.insertBefore(child, at)
  }
  while (at) {
    const next = at.nextElementSibling
    at.remove()
    at = next
  }
}

const sections = new Map()
function sectionOf(day) {
  const known = sections.get(day)
  if (known) return known
  const section = document.createElement('section')
  section.className = 'day'
  const title = document.createElement('h2')
  const small = document.createElement('small')
  const grid = document.createElement('ol')
  grid.className = 'grid'
  title.append(document.createTextNode(''), small)
  section.append(title, grid)
  const made = { section, title: title.firstChild, small, grid }
  sections.set(day, made)
  return made
}

function render() {
  page.waiting.hidden = true
  collect()
  held = holdAt === undefined ? 0 : view.filter((entry) => newestFirst(entry, holdAt) < 0).length
  const from = held + windowStart
  const shown = view.slice(from, from + windowSize)
  const left = view.length - from - shown.length
  const before = newestShown
  newestShown = shown[0] ?? newestShown
  const arrives = (entry) => before !== undefined && windowStart === 0 && newestFirst(entry, before) < 0

  const days = Map.groupBy(shown, (entry) => localDayName(entry.filedAtMs))
  const oldestDay = [...days.keys()].at(-1)
  const keep = new Set(shown.map(({ id }) => id))
  arrange(
    page.days,
    [...days].map(([day, entries]) => {
      const { section, title, small, grid } = sectionOf(day)
      title.data = dayTitle(day)
      // A count only where the whole day is on the page.
      const whole = windowStart === 0 && held === 0 && (day !== oldestDay || (left <= 0 && exhausted))
      const faces = entries.length === 1 ? '1 face' : `${numberFormat.format(entries.length)} faces`
      small.textContent = whole ? faces : ''
      arrange(
        grid,
        entries.map((entry) => tileOf(entry, arrives(entry))),
      )
      return section
    }),
  )
  for (const id of tiles.keys()) if (!keep.has(id)) tiles.delete(id)
  for (const day of sections.keys()) if (!days.has(day)) sections.delete(day)

  page.arrived.hidden = held === 0
  page.arrived.textContent = held === 1 ? '1 new face ↑' : `${numberFormat.format(held)} new faces ↑`
  page.newest.hidden = windowStart === 0
  page.more.hidden = left <= 0 && exhausted
  page.more.textContent =
    left <= 0 && !exhausted && entriesLoaded <= ENTRIES_MAX ? 'Search further back' : 'Show more'
  const tooMany = left <= 0 && !exhausted && entriesLoaded > ENTRIES_MAX
  if (tooMany) page.more.hidden = true
  page.end.hidden = shown.length === 0 || (!tooMany && (left > 0 || !exhausted))
  page.end.textContent = tooMany
    ? 'Too many faces for this page. Choose a day or a device to see more.'
    : 'No more faces.'
  renderNothing(shown.length > 0)
  renderFilters()
}

function renderNothing(something) {
  page.nothing.hidden = something || !indexSeen
  const filtered = filter.device !== '' || filter.day !== ''
  page.everything.hidden = !filtered
  page['nothing-steps'].hidden = filtered
  if (filtered) {
    page['nothing-title'].textContent = exhausted ? 'No faces found' : 'No faces found yet'
    const where = filter.device === '' ? '' : ` from ${filter.device}`
    const when = filter.day === '' ? '' : ` on ${shortDayFormat.format(localDay(filter.day))}`
    page['nothing-text'].textContent =
      `No face${where}${when}${exhausted ? '' : ' in the part searched so far'}.`
  } else {
    page['nothing-title'].textContent = 'No faces yet'
    page['nothing-text'].textContent = 'Faces appear here as soon as a camera sees someone. If none appear:'
  }
}

function renderFilters() {
  const devices = [...new Set([...heads.values()].flatMap((head) => head.devices))].sort()
  const days = new Set()
  const now = Date.now()
  for (const day of daysKnown())
    for (const ms of [Date.parse(day), Date.parse(day) + DAY_MS - 1])
      if (ms <= now) days.add(localDayName(ms))
  const year = nextYear()
  setOptions(page.device, filter.device, [
    ['', 'All devices'],
    ...devices.map((name) => [name, name.replace('/', ' / ')]),
  ])
  setOptions(page.day, filter.day, [
    ['', 'All days'],
    ...[...days]
      .sort()
      .reverse()
      .map((name) => [name, shortDayFormat.format(localDay(name))]),
    ...(year === undefined ? [] : [[OLDER_DAYS, `Days of ${year}…`]]),
  ])
}

function setOptions(select, chosen, options) {
  if (chosen !== '' && !options.some(([value]) => value === chosen)) options.push([chosen, chosen])
  const same =
    options.length === select.options.length &&
    options.every(
      ([value, label], i) => select.options[i].value === value && select.options[i].text === label,
    )
  if (!same)
    select.replaceChildren(
      ...options.map(([value, label]) => {
        const option = document.createElement('option')
        option.value = value
        option.textContent = label
        return option
      }),
    )
  if (select.value !== chosen) select.value = chosen
}

// ---------------------------------------------------------------- live

function say(state, text) {
  if (page.state.dataset.state !== state) page.state.dataset.state = state
  if (page['state-text'].textContent !== text) page['state-text'].textContent = text
}

function sayHowItIs() {
  if (heads.size === 0) return say('late', 'No data from a subscriber yet')
  const all = [...heads.values()]
  const alive = all.filter(
    (head) => !head.stopped && head.seenAtMs - head.aliveAtMs < HEARTBEATS_MISSED_MAX * head.heartbeatMs,
  )
  if (alive.length === all.length) return say('live', 'Live')
  if (alive.length > 0) return say('live', `Live, ${alive.length} of ${all.length} subscribers`)
  const last = all.reduce((a, b) => (a.aliveAtMs > b.aliveAtMs ? a : b))
  const sinceMs = last.aliveAtMs
  const when = Date.now() - sinceMs < DAY_MS ? hourFormat.format(sinceMs) : shortDayFormat.format(sinceMs)
  say('late', last.stopped ? `Stopped since ${when}` : `No data since ${when}`)
}

function sayHowLong() {
  const silentMs = performance.now() - answeredAtMs
  if (silentMs >= SILENT_MS) say('late', `No answer for ${Math.floor(silentMs / 1000)} s, still waiting`)
}

/** In the place of faces, where none could be had yet. */
function sayUnreached() {
  page.waiting.hidden = true
  page.nothing.hidden = false
  page['nothing-steps'].hidden = true
  page['nothing-title'].textContent = 'Cannot load the faces'
  page['nothing-text'].textContent = 'The bucket does not answer. This page retries automatically.'
}

let timer
let failures = 0
let polling = false
let again = false

/** One look at the index. Only one runs at a time; asked for meanwhile, it runs once more after. */
async function poll(readHeadsToo = true) {
  if (polling) {
    again = true
    return
  }
  polling = true
  clearTimeout(timer)
  answeredAtMs = performance.now()
  const waiting = setInterval(sayHowLong, 1000)
  try {
    if (readHeadsToo || !indexSeen) await readHeads()
    await fill(held + windowStart + windowSize + 1)
    failures = 0
    page.state.title = ''
    render()
    sayHowItIs()
    moreNearEnd()
  } catch (error) {
    failures += 1
    page.state.title = String(error)
    say('down', navigator.onLine ? 'Cannot reach the bucket, retrying' : 'You are offline')
    if (!indexSeen) sayUnreached()
  } finally {
    clearInterval(waiting)
    polling = false
  }
  if (again) {
    again = false
    return poll(false)
  }
  if (!document.hidden)
    timer = setTimeout(() => void poll(), Math.min(POLL_MS_MAX, POLL_MS * 2 ** Math.min(failures, 8)))
}

document.addEventListener('visibilitychange', () => {
  clearTimeout(timer)
  if (!document.hidden) void poll()
})
addEventListener('online', () => void poll())

// ---------------------------------------------------------------- what the visitor does

function readAddress() {
  const wanted = new URLSearchParams(location.hash.slice(1))
  filter.device = wanted.get('device') ?? ''
  filter.day = /^\d{4}-\d\d-\d\d$/.test(wanted.get('day') ?? '') ? wanted.get('day') : ''
  span = filter.day ? localDaySpan(filter.day) : undefined
  return wanted.get('crop') ?? ''
}
function address(crop) {
  const parts = new URLSearchParams()
  if (filter.device) parts.set('device', filter.device)
  if (filter.day) parts.set('day', filter.day)
  if (crop) parts.set('crop', crop)
  const hash = parts.toString()
  return hash === '' ? location.pathname + location.search : `#${hash}`
}

function toTheNewest() {
  windowStart = 0
  windowSize = TILES_STEP
  holdAt = undefined
  scrollTo({ top: 0 })
}

function changeFilter(device, day) {
  filter.device = device
  filter.day = day
  span = day ? localDaySpan(day) : undefined
  history.replaceState(null, '', address())
  if (entriesLoaded > ENTRIES_MAX / 2) for (const name of [...chunks.keys()]) keepChunk(name, undefined)
  toTheNewest()
  newestShown = undefined
  sayTitle()
  render()
  void poll(false)
}
page.filters.addEventListener('change', () => {
  if (page.day.value === OLDER_DAYS) void listOlderDays()
  else changeFilter(page.device.value, page.day.value)
})
/** Adds the days of the next year back to those that can be chosen. */
async function listOlderDays() {
  await readNextYear().catch(() => {}) // the next poll says what is wrong
  renderFilters()
}
page.filters.addEventListener('submit', (event) => event.preventDefault())
page.everything.addEventListener('click', () => changeFilter('', ''))

/** The face that is open. */
let viewing
let viewerPushed = false

const hasMore = () => view.length > held + windowStart + windowSize

/** Where there is nothing more to show yet, the search goes on and the window stays where it is. */
function showMore() {
  if (!hasMore()) return void poll(false)
  if (windowSize + TILES_STEP <= TILES_MAX) windowSize += TILES_STEP
  else {
    windowStart += TILES_MAX - TILES_STEP
    windowSize = TILES_STEP * 2
    scrollTo({ top: 0 })
  }
  render()
  void poll(false)
}
page.more.addEventListener('click', showMore)
/** Near the end of the page more comes by itself, up to the bound; past it, and for a long search, a person decides. */
function moreNearEnd() {
  if (
    hasMore() &&
    windowSize + TILES_STEP <= TILES_MAX &&
    page.more.getBoundingClientRect().top < innerHeight + AHEAD_PX
  )
    showMore()
}

for (const button of [page.newest, page.arrived])
  button.addEventListener('click', () => {
    toTheNewest()
    render()
    // The button goes, and the keyboard must be somewhere.
    page.days.querySelector('a.crop')?.focus({ preventScroll: true })
    void poll(false)
  })
/** Whether the page holds still when faces arrive: somebody has scrolled down, walks through them by keyboard, or has one open. */
const holds = () =>
  scrollY > AT_TOP_PX ||
  viewing !== undefined ||
  document.activeElement === page.arrived ||
  page.days.querySelector('a.crop:focus-visible') !== null
function holdOrLetGo() {
  if (holds()) holdAt ??= view[0]
  else if (holdAt !== undefined && windowStart === 0) {
    holdAt = undefined
    render()
  }
}
addEventListener(
  'scroll',
  () => {
    holdOrLetGo()
    moreNearEnd()
  },
  { passive: true },
)
page.days.addEventListener('focusin', holdOrLetGo)
// Once the focus is where it goes to.
for (const left of [page.days, page.arrived]) left.addEventListener('focusout', () => setTimeout(holdOrLetGo))

/** The tile above or below: of the next row, the nearest one. */
function beside(links, at, by) {
  const { top, left } = links[at].getBoundingClientRect()
  let next = at
  let rowTop
  for (let i = at + by; links[i]; i += by) {
    const rect = links[i].getBoundingClientRect()
    if (rect.top === top) continue
    rowTop ??= rect.top
    if (rect.top !== rowTop) break
    const isNearer = Math.abs(rect.left - left) < Math.abs(links[next].getBoundingClientRect().left - left)
    if (next === at || isNearer) next = i
  }
  return next
}

page.days.addEventListener('keydown', (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return
  const links = [...page.days.querySelectorAll('a.crop')]
  const at = links.indexOf(event.target)
  if (at < 0) return
  const next = {
    ArrowLeft: () => at - 1,
    ArrowRight: () => at + 1,
    ArrowUp: () => beside(links, at, -1),
    ArrowDown: () => beside(links, at, 1),
    Home: () => 0,
    End: () => links.length - 1,
  }[event.key]?.()
  if (next === undefined) return
  event.preventDefault()
  links[next]?.focus()
})

page.skip.addEventListener('click', (event) => {
  event.preventDefault() // what stands after the # is what is shown
  const first = page.days.querySelector('a.crop') ?? page.main
  first.focus()
})

// ---------------------------------------------------------------- one face, large

/** Text that may be written in the other direction than what is around it. */
function textElement(text) {
  const element = document.createElement('bdi')
  element.textContent = text
  return element
}

function addFact(name, value) {
  if (value === '') return
  const term = document.createElement('dt')
  term.append(textElement(name))
  const description = document.createElement('dd')
  description.append(textElement(value))
  page['viewer-list'].append(term, description)
}

/** What classifiers and plugins say: their names and labels are text. */
function attributesOf({ attributes }) {
  return Array.isArray(attributes)
    ? attributes.filter((it) => Array.isArray(it) && typeof it[0] === 'string' && typeof it[1] === 'string')
    : []
}

/** How long it took from what it is filed by: the capture, or the receipt where the camera's clock is wrong. */
function delayText({ storedAtMs, filedAtMs, capturedAtMs }) {
  const ms = storedAtMs - filedAtMs
  if (!Number.isFinite(ms) || ms < 0) return ''
  return `${durationText(ms)} after ${capturedAtMs === filedAtMs ? 'capture' : 'it was received'}`
}
function durationText(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`
  if (ms < 3_600_000) return `${Math.round(ms / 60_000)} min`
  return `${Math.round(ms / 3_600_000)} h`
}

/** Of the tab: what is open, or what is chosen. */
function sayTitle() {
  const parts = viewing
    ? [timeFormat.format(viewing.filedAtMs), `${viewing.device} · ${viewing.camera}`]
    : [filter.device.replace('/', ' / '), filter.day && shortDayFormat.format(localDay(filter.day))]
  document.title = [...parts.filter((it) => it !== ''), 'Sightline'].join(', ')
}

/** What an address alone tells of a crop, for a link to one that is not loaded. */
function entryOfKey(key) {
  const parts = key.split('/')
  const [site, device, camera, year, month, day, hour, file] = parts
  const filedAtMs = Date.parse(`${year}-${month}-${day}T${hour}:00:00Z`)
  if (!KEY.test(key) || parts.length !== 8 || !key.endsWith('.jpg') || Number.isNaN(filedAtMs))
    return undefined
  const id = file.replace(/\.[a-z0-9]+$/, '')
  // The first 48 bits of a UUIDv7 are its time in milliseconds (RFC 9562, 5.7).
  const mintedAtMs = Number.parseInt(id.replaceAll('-', '').slice(0, 12), 16)
  const sane = mintedAtMs >= filedAtMs && mintedAtMs < filedAtMs + 3_600_000
  return { id, key, site, device, camera, filedAtMs: sane ? mintedAtMs : filedAtMs }
}

function view1(entry) {
  viewing = entry
  sayTitle()
  const url = objectUrl(entry.key)
  const image = page['viewer-image']
  image.hidden = false
  page['viewer-link'].hidden = false
  page['viewer-missing'].textContent = ''
  image.style.removeProperty('--width-max')
  image.style.removeProperty('--height-max')
  image.src = url
  image.alt = `Face seen by ${entry.site} ${entry.device} ${entry.camera}`
  page['viewer-link'].href = url
  page['viewer-time'].textContent = timeFormat.format(entry.filedAtMs)
  page['viewer-date'].textContent = dayYearFormat.format(entry.filedAtMs)
  page['viewer-list'].replaceChildren()
  addFact('Site', entry.site)
  addFact('Device', entry.device)
  addFact('Camera', entry.camera)
  addFact('Score', scoreText(entry.score))
  for (const [name, label, score] of attributesOf(entry))
    addFact(name, Number.isFinite(score) ? `${label}, ${Math.round(score * 100)} %` : label)
  addFact('Face', entry.width > 0 ? `${entry.width} × ${entry.height} px` : '')
  addFact('Stored', delayText(entry))
  addFact('File', typeof entry.file === 'string' ? entry.file : '')
  if (Number.isFinite(entry.capturedAtMs) && entry.capturedAtMs !== entry.filedAtMs)
    addFact(
      'Clock',
      `camera clock wrong: ${dayYearFormat.format(entry.capturedAtMs)}, ${timeFormat.format(entry.capturedAtMs)}. ` +
        'The time shown is when the face was received',
    )
  addFact('Id', entry.id)
  const at = view.findIndex(({ id }) => id === entry.id)
  page['viewer-previous'].disabled = at <= 0
  page['viewer-next'].disabled = at < 0 || at >= view.length - 1
  showViewer()
}

function showViewer() {
  if (!page.viewer.open) {
    page.viewer.showModal()
    page.viewer.focus() // not its link, which on a small screen would scroll the face away
  }
  page.viewer.scrollTop = 0
  holdOrLetGo()
}

/** For an address that names no face. */
function viewNone() {
  viewing = undefined
  sayTitle()
  page['viewer-time'].textContent = 'No such face'
  page['viewer-date'].textContent = ''
  page['viewer-list'].replaceChildren()
  for (const button of [page['viewer-previous'], page['viewer-next']]) button.disabled = true
  sayMissing('Incomplete link: no face has this address.')
  showViewer()
}

function sayMissing(text) {
  page['viewer-image'].hidden = true
  page['viewer-link'].hidden = true
  page['viewer-missing'].textContent = text
}

/** An image does not say why it has not come. */
page['viewer-image'].addEventListener('error', async () => {
  const entry = viewing
  if (!entry) return
  const status = await fetch(objectUrl(entry.key), {
    method: 'HEAD',
    signal: AbortSignal.timeout(ANSWER_MS_MAX),
  })
    .then((answer) => answer.status)
    .catch(() => undefined)
  if (viewing !== entry) return
  sayMissing(
    status === 404 || status === 403
      ? 'Face not found. It may have been deleted, or the link is incomplete.'
      : 'Cannot load the picture. Try again later.',
  )
})

page['viewer-image'].addEventListener('load', ({ target }) => {
  target.style.setProperty('--width-max', `${target.naturalWidth * ENLARGE_MAX}px`)
  target.style.setProperty('--height-max', `${target.naturalHeight * ENLARGE_MAX}px`)
})

function openViewer(entry) {
  history.pushState(null, '', address(entry.key))
  viewerPushed = true
  view1(entry)
}

function step(by) {
  const at = view.findIndex(({ id }) => id === viewing?.id)
  const next = at < 0 ? undefined : view[at + by]
  if (!next) return
  history.replaceState(null, '', address(next.key))
  view1(next)
}

page.days.addEventListener('click', (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return
  const link = event.target.closest('a.crop')
  const entry = link && view.find(({ id }) => id === link.dataset.id)
  if (!entry) return
  event.preventDefault()
  openViewer(entry)
})
page['viewer-previous'].addEventListener('click', () => step(-1))
page['viewer-next'].addEventListener('click', () => step(1))
page['viewer-close'].addEventListener('click', () => page.viewer.close())
page.viewer.addEventListener('click', ({ target }) => {
  if (target === page.viewer || target.classList.contains('viewer-picture')) page.viewer.close()
})
page.viewer.addEventListener('keydown', (event) => {
  const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key]
  if (by === undefined) return
  event.preventDefault()
  step(by)
})
page.viewer.addEventListener('close', () => {
  const last = viewing
  viewing = undefined
  sayTitle()
  page['viewer-image'].removeAttribute('src')
  if (viewerPushed) {
    viewerPushed = false
    history.back()
  } else history.replaceState(null, '', address())
  if (last) tiles.get(last.id)?.querySelector('a').focus({ preventScroll: false })
  holdOrLetGo()
})

let touchedAt
page.viewer.addEventListener(
  'touchstart',
  ({ touches }) => {
    touchedAt = touches.length === 1 ? [touches[0].clientX, touches[0].clientY] : undefined
  },
  { passive: true },
)
page.viewer.addEventListener('touchend', ({ changedTouches }) => {
  if (!touchedAt) return
  const x = changedTouches[0].clientX - touchedAt[0]
  const y = changedTouches[0].clientY - touchedAt[1]
  touchedAt = undefined
  if (Math.abs(x) > 48 && Math.abs(x) > 2 * Math.abs(y)) step(x < 0 ? 1 : -1)
})

function followAddress() {
  const before = { ...filter }
  const key = readAddress()
  if (before.device !== filter.device || before.day !== filter.day) {
    toTheNewest()
    void poll(false)
  }
  const entry = key === '' ? undefined : (view.find((known) => known.key === key) ?? entryOfKey(key))
  sayTitle()
  if (entry) view1(entry)
  else if (key !== '') viewNone()
  else if (page.viewer.open) {
    viewerPushed = false
    page.viewer.close()
  }
}
addEventListener('popstate', followAddress)

const linked = readAddress()
sayTitle()
void poll().then(() => {
  if (linked !== '') followAddress()
})
