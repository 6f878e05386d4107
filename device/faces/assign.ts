/**
 * The assignment of rows to columns whose sum of costs is the least (Kuhn, 1955: "the Hungarian method"), by shortest
 * augmenting paths with potentials (Jonker and Volgenant, 1987). O(rows² x columns): 100 x 100 takes about 2 ms.
 *
 * A pair that costs `costMax` or more is worth no more than leaving both alone, and is left out.
 * @returns for each row its column, or -1
 */
export function assign(
  rows: number,
  columns: number,
  costOf: (row: number, column: number) => number,
  costMax: number,
): number[] {
  const taken = new Array<number>(rows).fill(-1)
  if (rows === 0 || columns === 0) return taken
  // Each row has a column of its own to fall back on, at `costMax`; so there are never fewer columns than rows.
  const width = columns + rows
  const costs = new Float64Array(rows * width)
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1)
      costs[row * width + column] = Math.min(costMax, costOf(row, column))
    costs.fill(costMax, row * width + columns, (row + 1) * width)
  }
  const rowOf = new Int32Array(width).fill(-1)
  const rowPotential = new Float64Array(rows)
  const columnPotential = new Float64Array(width)
  const distance = new Float64Array(width)
  const from = new Int32Array(width)
  const done = new Uint8Array(width)
  for (let start = 0; start < rows; start += 1) {
    distance.fill(Infinity)
    from.fill(-1)
    done.fill(0)
    let row = start
    let reached = -1
    let column = -1
    // Dijkstra from this row to the nearest free column, over reduced costs.
    for (;;) {
      let next = -1
      for (let j = 0; j < width; j += 1) {
        if (done[j]) continue
        const length =
          (reached < 0 ? 0 : (distance[reached] as number)) +
          (costs[row * width + j] as number) -
          (rowPotential[row] as number) -
          (columnPotential[j] as number)
        if (length < (distance[j] as number)) {
          distance[j] = length
          from[j] = reached
        }
        if (next < 0 || (distance[j] as number) < (distance[next] as number)) next = j
      }
      done[next] = 1
      reached = next
      if ((rowOf[next] as number) < 0) {
        column = next
        break
      }
      row = rowOf[next] as number
    }
    const length = distance[column] as number
    rowPotential[start] = (rowPotential[start] as number) + length
    for (let j = 0; j < width; j += 1) {
      if (!done[j] || j === column) continue
      const slack = length - (distance[j] as number)
      columnPotential[j] = (columnPotential[j] as number) - slack
      const owner = rowOf[j] as number
      rowPotential[owner] = (rowPotential[owner] as number) + slack
    }
    // Along the path, each column goes to the row of the one before.
    while ((from[column] as number) >= 0) {
      rowOf[column] = rowOf[from[column] as number] as number
      column = from[column] as number
    }
    rowOf[column] = start
  }
  for (let column = 0; column < columns; column += 1) {
    const row = rowOf[column] as number
    if (row >= 0 && (costs[row * width + column] as number) < costMax) taken[row] = column
  }
  return taken
}
