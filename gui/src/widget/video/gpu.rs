//! Pictures for wgpu: three persistent textures a slot, converted by a shader as they are drawn.

use std::collections::HashMap;

use iced::widget::shader::{self, Viewport};
use iced::{Rectangle, Size, wgpu};
use kith_common::media::Picture;

use super::{Fit, Mirror};

/// How a picture is laid into its area.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    pub size: Size,
    pub fit: Fit,
    pub mirror: Mirror,
    pub radius: f32,
}

/// One drawing of one picture.
#[derive(Debug)]
pub struct Show {
    slot: u64,
    generation: u64,
    picture: Picture,
    look: Look,
}

impl Show {
    /// `(slot, generation)` tells whether the textures hold this picture already.
    pub fn new((slot, generation): (u64, u64), picture: Picture, look: Look) -> Self {
        Self { slot, generation, picture, look }
    }

    fn uniforms(&self, pipeline: &Pipeline, factor: f32) -> Vec<u8> {
        let Look { size, fit, mirror, radius } = self.look;
        let picture = self.picture.size.width() as f32 / self.picture.size.height() as f32;
        let area = size.width / size.height;
        // The share of the picture that is seen.
        let (x, y) = match fit {
            Fit::Contain => (1.0, 1.0),
            Fit::Cover if area < picture => (area / picture, 1.0),
            Fit::Cover => (1.0, picture / area),
        };
        let flag = |on: bool| if on { 1.0 } else { 0.0 };
        let values = [
            x,
            y,
            size.width * factor,
            size.height * factor,
            flag(mirror == Mirror::On),
            radius * factor,
            flag(pipeline.srgb),
            0.0_f32,
        ];
        values.iter().flat_map(|value| value.to_ne_bytes()).collect()
    }
}

const UNIFORM_BYTES: u64 = 32;

struct Planes {
    size: kith_common::media::Size,
    generation: Option<u64>,
    textures: [wgpu::Texture; 3],
    bind: wgpu::BindGroup,
    uniforms: wgpu::Buffer,
    used: bool,
}

/// Shared by all videos of the window.
pub struct Pipeline {
    render: wgpu::RenderPipeline,
    layout: wgpu::BindGroupLayout,
    sampler: wgpu::Sampler,
    planes: HashMap<u64, Planes>,
    srgb: bool,
}

/// BT.601 limited range to RGB; a signed distance gives the round corners.
const SHADER: &str = r"
struct Uniforms { seen: vec2f, size: vec2f, mirror: f32, radius: f32, srgb: f32, pad: f32 }
@group(0) @binding(0) var<uniform> u: Uniforms;
@group(0) @binding(1) var s: sampler;
@group(0) @binding(2) var plane_y: texture_2d<f32>;
@group(0) @binding(3) var plane_u: texture_2d<f32>;
@group(0) @binding(4) var plane_v: texture_2d<f32>;
struct Corner { @builtin(position) position: vec4f, @location(0) uv: vec2f }
@vertex fn vertex(@builtin(vertex_index) i: u32) -> Corner {
  let q = vec2f(f32((i << 1u) & 2u), f32(i & 2u));
  var o: Corner;
  o.position = vec4f(q * 2.0 - 1.0, 0.0, 1.0);
  o.uv = vec2f(q.x, 1.0 - q.y);
  return o;
}
@fragment fn fragment(v: Corner) -> @location(0) vec4f {
  var uv = (v.uv - 0.5) * u.seen + 0.5;
  if (u.mirror > 0.5) { uv.x = 1.0 - uv.x; }
  let y = 1.16438 * (textureSample(plane_y, s, uv).r - 0.0625);
  let cb = textureSample(plane_u, s, uv).r - 0.5;
  let cr = textureSample(plane_v, s, uv).r - 0.5;
  var c = clamp(vec3f(y + 1.59603 * cr, y - 0.39176 * cb - 0.81297 * cr, y + 2.01723 * cb), vec3f(0.0), vec3f(1.0));
  if (u.srgb > 0.5) { c = pow(c, vec3f(2.2)); }
  let p = abs(v.uv - 0.5) * u.size - 0.5 * u.size + u.radius;
  let d = length(max(p, vec2f(0.0))) + min(max(p.x, p.y), 0.0) - u.radius;
  let a = clamp(0.5 - d, 0.0, 1.0);
  return vec4f(c * a, a);
}";

impl shader::Pipeline for Pipeline {
    fn new(device: &wgpu::Device, _queue: &wgpu::Queue, format: wgpu::TextureFormat) -> Self {
        let entry = |binding, ty| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::FRAGMENT,
            ty,
            count: None,
        };
        let texture = wgpu::BindingType::Texture {
            sample_type: wgpu::TextureSampleType::Float { filterable: true },
            view_dimension: wgpu::TextureViewDimension::D2,
            multisampled: false,
        };
        let uniform = wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Uniform,
            has_dynamic_offset: false,
            min_binding_size: None,
        };
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("video"),
            entries: &[
                entry(0, uniform),
                entry(1, wgpu::BindingType::Sampler(wgpu::SamplerBindingType::Filtering)),
                entry(2, texture),
                entry(3, texture),
                entry(4, texture),
            ],
        });
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("video"),
            source: wgpu::ShaderSource::Wgsl(SHADER.into()),
        });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some("video"),
            bind_group_layouts: &[&layout],
            push_constant_ranges: &[],
        });
        let render = device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
            label: Some("video"),
            layout: Some(&pipeline_layout),
            vertex: wgpu::VertexState {
                module: &module,
                entry_point: Some("vertex"),
                buffers: &[],
                compilation_options: wgpu::PipelineCompilationOptions::default(),
            },
            primitive: wgpu::PrimitiveState::default(),
            depth_stencil: None,
            multisample: wgpu::MultisampleState::default(),
            fragment: Some(wgpu::FragmentState {
                module: &module,
                entry_point: Some("fragment"),
                compilation_options: wgpu::PipelineCompilationOptions::default(),
                targets: &[Some(wgpu::ColorTargetState {
                    format,
                    blend: Some(wgpu::BlendState::PREMULTIPLIED_ALPHA_BLENDING),
                    write_mask: wgpu::ColorWrites::ALL,
                })],
            }),
            multiview: None,
            cache: None,
        });
        let sampler = device.create_sampler(&wgpu::SamplerDescriptor {
            mag_filter: wgpu::FilterMode::Linear,
            min_filter: wgpu::FilterMode::Linear,
            ..wgpu::SamplerDescriptor::default()
        });
        Self { render, layout, sampler, planes: HashMap::new(), srgb: format.is_srgb() }
    }

    fn trim(&mut self) {
        self.planes.retain(|_, planes| std::mem::replace(&mut planes.used, false));
    }
}

/// Sides are at most 1920 (kith_common::media).
fn texels(side: usize) -> u32 {
    u32::try_from(side).unwrap_or(u32::MAX)
}

fn extent(width: usize, height: usize) -> wgpu::Extent3d {
    wgpu::Extent3d { width: texels(width), height: texels(height), depth_or_array_layers: 1 }
}

impl Planes {
    fn new(pipeline: &Pipeline, device: &wgpu::Device, size: kith_common::media::Size) -> Self {
        let texture = |width, height| {
            device.create_texture(&wgpu::TextureDescriptor {
                label: Some("video plane"),
                size: extent(width, height),
                mip_level_count: 1,
                sample_count: 1,
                dimension: wgpu::TextureDimension::D2,
                format: wgpu::TextureFormat::R8Unorm,
                usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST,
                view_formats: &[],
            })
        };
        let (width, height) = (size.width(), size.height());
        let textures = [texture(width, height), texture(width / 2, height / 2), texture(width / 2, height / 2)];
        let uniforms = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("video"),
            size: UNIFORM_BYTES,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let views = textures.each_ref().map(|texture| texture.create_view(&wgpu::TextureViewDescriptor::default()));
        let entry = |binding, resource| wgpu::BindGroupEntry { binding, resource };
        let bind = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("video"),
            layout: &pipeline.layout,
            entries: &[
                entry(0, uniforms.as_entire_binding()),
                entry(1, wgpu::BindingResource::Sampler(&pipeline.sampler)),
                entry(2, wgpu::BindingResource::TextureView(&views[0])),
                entry(3, wgpu::BindingResource::TextureView(&views[1])),
                entry(4, wgpu::BindingResource::TextureView(&views[2])),
            ],
        });
        Self { size, generation: None, textures, bind, uniforms, used: true }
    }
}

impl shader::Primitive for Show {
    type Pipeline = Pipeline;

    fn prepare(
        &self,
        pipeline: &mut Pipeline,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        _bounds: &Rectangle,
        viewport: &Viewport,
    ) {
        let size = self.picture.size;
        let mut planes = match pipeline.planes.remove(&self.slot) {
            Some(planes) if planes.size == size => planes,
            _ => Planes::new(pipeline, device, size),
        };
        queue.write_buffer(&planes.uniforms, 0, &self.uniforms(pipeline, viewport.scale_factor()));
        if planes.generation != Some(self.generation) {
            planes.generation = Some(self.generation);
            let (width, height) = (size.width(), size.height());
            let parts = [
                (self.picture.y(), width, height),
                (self.picture.u(), width / 2, height / 2),
                (self.picture.v(), width / 2, height / 2),
            ];
            for (texture, (data, width, height)) in planes.textures.iter().zip(parts) {
                let layout = wgpu::TexelCopyBufferLayout {
                    offset: 0,
                    bytes_per_row: Some(texels(width)),
                    rows_per_image: Some(texels(height)),
                };
                queue.write_texture(texture.as_image_copy(), data, layout, extent(width, height));
            }
        }
        planes.used = true;
        pipeline.planes.insert(self.slot, planes);
    }

    fn draw(&self, pipeline: &Pipeline, pass: &mut wgpu::RenderPass<'_>) -> bool {
        if let Some(planes) = pipeline.planes.get(&self.slot) {
            pass.set_pipeline(&pipeline.render);
            pass.set_bind_group(0, &planes.bind, &[]);
            pass.draw(0..3, 0..1);
        }
        true
    }
}
