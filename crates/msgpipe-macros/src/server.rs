//! The server's side: what passes a request to the trait's method.

use crate::method::{Kind, Method, Place, plain};
use crate::number::number;
use crate::reading::Service;
use proc_macro2::TokenStream;
use quote::{format_ident, quote};

pub fn expand(service: &Service, typed: &TokenStream) -> TokenStream {
    let (visibility, name) = (&service.item.vis, &service.item.ident);
    let server = format_ident!("{}Server", plain(name));
    let client = format_ident!("{}Client", plain(name));
    let docs = format!(
        "Serves [`{name}`]: `Server::serve_typed` takes it, or `typed::Service::handle` passes it a request."
    );
    let calls =
        service.methods.iter().enumerate().map(|(index, it)| arm(service, index, it, typed));
    let told = service.methods.iter().enumerate().filter(|(_, it)| it.kind == Kind::OneWay);
    let told = told.map(|(index, it)| one_way(service, index, it, typed));
    let interface = interface(service);
    quote! {
        #[doc = #docs]
        #[allow(dead_code, reason = "a program is often one side only")]
        #visibility struct #server<S>(::std::sync::Arc<S>);

        impl<S> ::core::clone::Clone for #server<S> {
            fn clone(&self) -> Self {
                Self(::core::clone::Clone::clone(&self.0))
            }
        }

        impl<S> ::core::fmt::Debug for #server<S> {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.debug_struct(::core::stringify!(#server)).finish_non_exhaustive()
            }
        }

        #[allow(dead_code, reason = "a program is often one side only")]
        impl<S: #name + Send + Sync + 'static> #server<S> {
            /// Serves this.
            #visibility fn new(service: S) -> Self {
                Self(::std::sync::Arc::new(service))
            }

            /// Serves this, which others have as well.
            #visibility fn shared(service: ::std::sync::Arc<S>) -> Self {
                Self(service)
            }
        }

        impl<S: #name + Send + Sync + 'static> #typed::Service for #server<S> {
            fn dispatch(&self, call: #typed::hidden::ServerCall) -> Option<#typed::hidden::ServerCall> {
                match call.number() {
                    #(#calls)*
                    _ => return Some(call),
                }
                #[allow(unreachable_code)]
                None
            }

            fn notified(&self, told: &#typed::hidden::Told) {
                match told.number() {
                    #(#told)*
                    _ => {}
                }
            }

        }

        impl<S> #typed::Described for #server<S> {
            fn describe(interface: &mut #typed::Interface) {
                <#client as #typed::Described>::describe(interface)
            }
        }

        impl #typed::Described for #client {
            fn describe(interface: &mut #typed::Interface) {
                #interface
            }
        }
    }
}

/// The trait's method, called with what has come.
fn called(service: &Service, method: &Method) -> TokenStream {
    let (name, ident) = (&service.item.ident, &method.ident);
    let arguments = method.places.iter().map(|place| match place {
        Place::Context => quote!(__context),
        Place::Sent(index) => {
            let name = &method.arguments[*index].name;
            quote!(#name)
        }
        Place::Special => quote!(__special),
    });
    quote!(<S as #name>::#ident(&self.0, #(#arguments),*))
}

/// What it returns as a `Result`.
fn outcome(service: &Service, method: &Method) -> TokenStream {
    let called = called(service, method);
    let streams = matches!(method.kind, Kind::Replies | Kind::Duplex);
    match (method.is_fallible, streams && !method.has_fallible_items) {
        (true, false) => called,
        (true, true) => quote!(#called.map(|__items| __items.map(::core::result::Result::Ok))),
        (false, false) => quote!(::core::result::Result::Ok(#called)),
        (false, true) => {
            quote!(::core::result::Result::Ok(#called.map(::core::result::Result::Ok)))
        }
    }
}

fn arm(service: &Service, index: usize, method: &Method, typed: &TokenStream) -> TokenStream {
    let (table, number) = (service.table(), number(&method.name));
    let (types, tuple) = (method.arguments_type(), method.arguments_tuple());
    let (reply, error, special) =
        (method.reply_type(), method.error_type(typed), method.special_type());
    let (method_ref, outcome) = (quote!(&#table[#index]), outcome(service, method));
    let hidden = quote!(#typed::hidden);
    match method.kind {
        Kind::OneWay => quote! {
            #number => call.refuse_one_way(#method_ref),
        },
        Kind::Unary => quote! {
            #number => #hidden::unary::<#types, #reply, #error>(
                call, #method_ref, |__context, #tuple| #outcome,
            ),
        },
        Kind::Replies => quote! {
            #number => #hidden::replies::<#types, #reply, #error>(
                call, #method_ref, |__context, #tuple, __replies| __replies.send(#outcome),
            ),
        },
        Kind::Upload => quote! {
            #number => #hidden::upload::<#types, #special, #reply, #error>(
                call, #method_ref, |__context, #tuple, __special| #outcome,
            ),
        },
        Kind::Duplex => quote! {
            #number => #hidden::duplex::<#types, #special, #reply, #error>(
                call,
                #method_ref,
                |__context, #tuple, __special, __replies| __replies.send(#outcome),
            ),
        },
        Kind::Progress => quote! {
            #number => #hidden::progress::<#types, #special, #reply, #error>(
                call, #method_ref, |__context, #tuple, __special| #outcome,
            ),
        },
        Kind::Subscription => quote! {
            #number => #hidden::subscription::<#types, #special, #error>(
                call, #method_ref, |__context, #tuple, __special| #outcome,
            ),
        },
    }
}

fn one_way(service: &Service, index: usize, method: &Method, typed: &TokenStream) -> TokenStream {
    let (table, number) = (service.table(), number(&method.name));
    let (types, tuple) = (method.arguments_type(), method.arguments_tuple());
    let called = called(service, method);
    quote! {
        #number => #typed::hidden::one_way::<#types>(
            told, &#table[#index], |__context, #tuple| #called,
        ),
    }
}

/// Describes the methods.
fn interface(service: &Service) -> TokenStream {
    let (name, table) = (&service.name, service.table());
    let methods = service.methods.iter().enumerate().map(|(index, method)| {
        let arguments = method.arguments.iter().map(|it| {
            let kind = &it.kind;
            quote!(.argument::<#kind>())
        });
        let reply = match method.kind {
            Kind::OneWay => quote!(),
            Kind::Subscription => {
                let kind = method.special_type();
                quote!(.items::<#kind>())
            }
            Kind::Replies => {
                let kind = method.reply_type();
                quote!(.items::<#kind>())
            }
            Kind::Duplex => {
                let (kind, sent) = (method.reply_type(), method.special_type());
                quote!(.items::<#kind>().sent_items::<#sent>())
            }
            Kind::Unary => {
                let kind = method.reply_type();
                quote!(.reply::<#kind>())
            }
            Kind::Upload => {
                let (kind, sent) = (method.reply_type(), method.special_type());
                quote!(.reply::<#kind>().sent_items::<#sent>())
            }
            Kind::Progress => {
                let (kind, progress) = (method.reply_type(), method.special_type());
                quote!(.reply::<#kind>().progress::<#progress>())
            }
        };
        let error = method.error.as_ref().map(|kind| quote!(.error::<#kind>()));
        quote!(interface.method(&#table[#index]) #(#arguments)* #reply #error;)
    });
    quote! {
        interface.service(#name);
        #(#methods)*
    }
}
