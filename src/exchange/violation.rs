//! How a peer can break the protocol of calls. Each names the rule of `docs/PROTOCOL.md` that it breaks.

use crate::error::CloseReason;
use crate::framing::FramingError;

/// A frame that the protocol does not allow. The connection has to be closed: nobody knows what its sender takes
/// for open.
///
/// Its text begins with the number of the rule, as in `docs/PROTOCOL.md`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct Violation(#[from] Broken);

impl Violation {
    /// The number of the rule that is broken, as in the tables of `docs/PROTOCOL.md`: `M3`.
    pub fn rule(&self) -> String {
        self.to_string().chars().skip(1).take_while(|c| *c != ']').collect()
    }
}

impl From<Violation> for CloseReason {
    fn from(violation: Violation) -> CloseReason {
        match violation.0 {
            Broken::TooLarge { total, limit } => {
                FramingError::TooLarge { size: total, limit: limit as usize }.into()
            }
            broken => CloseReason::Protocol(broken.to_string()),
        }
    }
}

/// The rule that a frame breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    #[error("[E1] a message of {len} bytes, too short for its envelope")]
    Short { len: usize },
    #[error("[E2] a frame of the unknown kind {kind}")]
    UnknownKind { kind: u8 },
    #[error("[E3] a frame of kind {kind} with a value where it must have zero")]
    Reserved { kind: u8 },
    #[error("[E4] a frame of kind {kind} with the flags {flags:#04x}")]
    Flags { kind: u8, flags: u8 },
    #[error("[E5] a frame that ends inside the fields that its flags announce")]
    ShortFields,
    #[error("[E6] {len} bytes of metadata: there may be 1 to 4096")]
    MetadataSize { len: usize },
    #[error("[E6] metadata that are not pairs of a key and a value")]
    Metadata,
    #[error("[E7] a frame of kind {kind} with a body of {len} bytes")]
    BodySize { kind: u8, len: usize },
    #[error("[E8] an error without the length of its text, or shorter than its text")]
    ErrorBody,
    #[error("[S1] the first frame has to be settings")]
    NoSettings,
    #[error("[S2] settings for a second time")]
    SettingsAgain,
    #[error("[S3] settings that end inside an entry")]
    SettingsCutOff,
    #[error("[S4] the setting {kind}, which is unknown and may not be ignored")]
    UnknownSetting { kind: u16 },
    #[error("[S5] the setting {kind} with a value of {len} bytes")]
    SettingSize { kind: u16, len: usize },
    #[error("[I1] a request with the id {id}, which the other side gives")]
    WrongSide { id: u32 },
    #[error("[I2] a request with the id {id}, which is not later than those before")]
    OldId { id: u32 },
    #[error("[I3] a frame of kind {kind} for call {id}, which was not opened")]
    NeverOpened { kind: u8, id: u32 },
    #[error("[I4] a frame of kind {kind} with the id {id}, where that kind has another")]
    WrongId { kind: u8, id: u32 },
    #[error("[I5] a frame of kind {kind} for call {id} from the side that may not send it")]
    WrongRole { kind: u8, id: u32 },
    #[error("[M1] more of call {id} after its sender had ended it")]
    AfterEnd { id: u32 },
    #[error("[M2] a message of several pieces in call {id} without its total")]
    NoTotal { id: u32 },
    #[error("[M2] a total in call {id} with a piece that is not the first of several")]
    WrongTotal { id: u32 },
    #[error("[M3] pieces in call {id} that do not add up to the total")]
    WrongSum { id: u32 },
    #[error("[M4] an empty piece in call {id}")]
    EmptyPiece { id: u32 },
    #[error("[M5] the end of call {id} inside a message")]
    EndInside { id: u32 },
    #[error("[M6] metadata or a method in call {id} where no message begins")]
    LateFields { id: u32 },
    #[error("[M7] a message of {total} bytes, over the limit of {limit}")]
    TooLarge { total: u64, limit: u64 },
    #[error("[F1] {received} bytes of credit used in call {id}, and {granted} were granted")]
    CallCredit { id: u32, received: u64, granted: u64 },
    #[error("[F2] {received} bytes of credit used, and {granted} were granted")]
    ConnectionCredit { received: u64, granted: u64 },
    #[error("[F3] a piece in call {id} before there was room for its message")]
    NotAdmitted { id: u32 },
    #[error("[L1] {open} calls without their last piece, over the limit of {limit}")]
    TooManyRefused { open: usize, limit: usize },
    #[error("[L2] the end of the notifications, which never end")]
    LaneEnds,
}
