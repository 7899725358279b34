// Compares two pictures pixel by pixel.

// The pixels of a picture: {width, height, data: RGBA}.
async function pixelsOf(blob) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: 'none', premultiplyAlpha: 'none' })
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d', { willReadFrequently: true })
  context.drawImage(bitmap, 0, 0)
  return context.getImageData(0, 0, bitmap.width, bitmap.height)
}

// {text, image}: what differs in words, and as a picture whose brightness is the difference times factor; with 'auto' the
// largest difference is white. image is null if the pictures have not the same size.
export async function difference(one, other, factor) {
  const [a, b] = await Promise.all([pixelsOf(one), pixelsOf(other)])
  if (a.width !== b.width || a.height !== b.height) {
    return { text: `They have other sizes: ${a.width} × ${a.height} and ${b.width} × ${b.height}.`, image: null }
  }
  const found = counted(a.data, b.data)
  const by = factor === 'auto' ? 255 / Math.max(1, found.largest) : Number(factor)
  const image = new ImageData(a.width, a.height)
  for (let at = 0; at < a.data.length; at += 1) {
    image.data[at] = at % 4 === 3 ? 255 : Math.abs(a.data[at] - b.data[at]) * by // The array itself cuts at 255.
  }
  return { text: inWords(found, a.width * a.height), image }
}

function counted(a, b) {
  let [differing, largest, sum] = [0, 0, 0]
  for (let at = 0; at < a.length; at += 4) {
    let most = 0
    for (let channel = 0; channel < 4; channel += 1) {
      const by = Math.abs(a[at + channel] - b[at + channel])
      if (by > most) most = by
      if (channel < 3) sum += by
    }
    if (most) differing += 1
    if (most > largest) largest = most
  }
  return { differing, largest, sum }
}

function inWords({ differing, largest, sum }, all) {
  if (!differing) return 'Every pixel is the same.'
  const share = (100 * differing) / all
  const percent = share < 0.1 ? '<0.1' : share > 99.9 && differing < all ? '>99.9' : share.toFixed(1)
  return `${differing.toLocaleString('en')} of ${all.toLocaleString('en')} pixels differ (${percent} %): by ${largest} of 255 at most, by ${(sum / all / 3).toFixed(2)} on average.`
}
