// Says what is in a 3D model, without drawing it: the head of a GLB is JSON.

const GLB = 0x46546c67
const JSON_CHUNK = 0x4e4f534a

// A line about the model in a file; null if it is none, or of a kind that is not read here.
export async function describeModel(file) {
  if (!/^model\/gltf/.test(file.type)) return null
  try {
    const model = await readGltf(file)
    const points = (model.meshes ?? []).flatMap((mesh) => mesh.primitives ?? []).map((part) => part.attributes?.POSITION)
    const vertices = points.reduce((sum, index) => sum + (model.accessors?.[index]?.count ?? 0), 0)
    const counts = [
      counted(model.meshes?.length, 'mesh', 'meshes'), counted(vertices, 'vertex', 'vertices'),
      counted(model.materials?.length, 'material', 'materials'), counted(model.animations?.length, 'animation', 'animations'),
    ]
    return counts.filter(Boolean).join(', ') || 'empty'
  } catch {
    return 'it cannot be read'
  }
}

async function readGltf(file) {
  const buffer = await file.blob.arrayBuffer()
  const view = new DataView(buffer)
  if (view.getUint32(0, true) !== GLB) return JSON.parse(new TextDecoder().decode(buffer))
  if (view.getUint32(16, true) !== JSON_CHUNK) throw new Error('no JSON')
  return JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 20, view.getUint32(12, true))))
}

function counted(count, one, many) {
  return count ? `${count.toLocaleString('en')} ${count === 1 ? one : many}` : ''
}
